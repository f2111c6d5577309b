// The file in ONNX Runtime (1.13 or newer): g++ -std=c++17 -O2 use/cpp/main.cpp -lonnxruntime -o main
#pragma once

#include <filesystem>

#include <onnxruntime_cxx_api.h>

#include "model.hpp"

namespace mobilenets {

class Classifier {
public:
    float distance = 0;  // of the last picture, where TELLS_UNKNOWN

    std::vector<float> run(std::vector<Number> input, int width, int height) {
        const int64_t planes[] = {BATCH, 3, height, width}, rows[] = {BATCH, height, width, 3};
        auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        auto tensor = Ort::Value::CreateTensor<Number>(memory, input.data(), input.size(), PLANES ? planes : rows, 4);
        Ort::AllocatorWithDefaultOptions allocator;
        auto in = session.GetInputNameAllocated(0, allocator), out = session.GetOutputNameAllocated(0, allocator);
        const char *inputs[] = {in.get()}, *outputs[] = {out.get(), "distance"};
        auto result = session.Run(Ort::RunOptions(), inputs, &tensor, 1, outputs, TELLS_UNKNOWN ? 2 : 1);
        if (TELLS_UNKNOWN) distance = result[1].GetTensorData<float>()[0];
        const float* scores = result[0].GetTensorData<float>();
        return {scores, scores + CLASSES.size()};
    }

private:
    Ort::Env env;
    Ort::Session session{env.DisableTelemetryEvents(), std::filesystem::path(FILE_NAME).c_str(), Ort::SessionOptions()};
};

}  // namespace mobilenets
