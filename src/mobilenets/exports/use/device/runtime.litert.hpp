// The file in LiteRT, through its C API: g++ -std=c++17 -O2 use/cpp/main.cpp -ltensorflowlite_c -o main
#pragma once

#include <stdexcept>

#include <tensorflow/lite/c/c_api.h>

#include "model.hpp"

namespace mobilenets {

class Classifier {
public:
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
        const auto* leave = TfLiteInterpreterGetOutputTensor(interpreter, 0);
        std::vector<float> scores(TfLiteTensorByteSize(leave) / sizeof(float));
        if (TfLiteTensorCopyFromBuffer(entry, input.data(), input.size() * sizeof(Number)) != kTfLiteOk ||
            TfLiteInterpreterInvoke(interpreter) != kTfLiteOk ||
            TfLiteTensorCopyToBuffer(leave, scores.data(), scores.size() * sizeof(float)) != kTfLiteOk)
            throw std::runtime_error("the file did not run");
        return scores;
    }

private:
    TfLiteModel* model;
    TfLiteInterpreter* interpreter;
};

}  // namespace mobilenets
