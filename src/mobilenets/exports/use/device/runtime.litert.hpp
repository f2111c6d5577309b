// The file in LiteRT, through its C API: g++ -std=c++17 -O2 use/cpp/main.cpp -ltensorflowlite_c -o main
#pragma once

#include <stdexcept>

#include <tensorflow/lite/c/c_api.h>

#include "model.hpp"

namespace mobilenets {

class Classifier {
public:
    float distance = 0;  // of the last picture, where TELLS_UNKNOWN

    Classifier() : model(TfLiteModelCreateFromFile(FILE_NAME)), interpreter(model ? TfLiteInterpreterCreate(model, nullptr) : nullptr) {
        if (!interpreter || TfLiteInterpreterAllocateTensors(interpreter) != kTfLiteOk)
            throw std::runtime_error(std::string(FILE_NAME) + ": cannot be opened");
    }
    ~Classifier() {
        TfLiteInterpreterDelete(interpreter);
        TfLiteModelDelete(model);
    }
    Classifier(const Classifier&) = delete;
    Classifier& operator=(const Classifier&) = delete;

    std::vector<float> run(std::vector<Number> input, int, int) {
        auto* entry = TfLiteInterpreterGetInputTensor(interpreter, 0);
        if (TfLiteTensorCopyFromBuffer(entry, input.data(), input.size() * sizeof(Number)) != kTfLiteOk ||
            TfLiteInterpreterInvoke(interpreter) != kTfLiteOk)
            throw std::runtime_error("the file did not run");
        if (TELLS_UNKNOWN) distance = output(1).at(0);
        return output(2);
    }

private:
    // The scores are N x classes, the distances N.
    std::vector<float> output(int dimensions) const {
        for (int place = 0; place < TfLiteInterpreterGetOutputTensorCount(interpreter); place++) {
            const auto* leave = TfLiteInterpreterGetOutputTensor(interpreter, place);
            if (TfLiteTensorNumDims(leave) != dimensions) continue;
            std::vector<float> made(TfLiteTensorByteSize(leave) / sizeof(float));
            if (TfLiteTensorCopyToBuffer(leave, made.data(), made.size() * sizeof(float)) == kTfLiteOk) return made;
        }
        throw std::runtime_error("the file lacks an output");
    }

    TfLiteModel* model;
    TfLiteInterpreter* interpreter;
};

}  // namespace mobilenets
