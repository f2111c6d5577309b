// The file in OpenVINO: g++ -std=c++17 -O2 use/cpp/main.cpp -lopenvino -o main
#pragma once

#include <openvino/openvino.hpp>

#include "model.hpp"

namespace mobilenets {

class Classifier {
public:
    float distance = 0;  // of the last picture, where TELLS_UNKNOWN

    std::vector<float> run(std::vector<Number> input, int width, int height) {
        const std::size_t batch = BATCH, w = width, h = height;
        const ov::Shape shape = PLANES ? ov::Shape{batch, 3, h, w} : ov::Shape{batch, h, w, 3};
        request.set_input_tensor(ov::Tensor(ov::element::from<Number>(), shape, input.data()));
        request.infer();
        if (TELLS_UNKNOWN) distance = request.get_tensor("distance").data<float>()[0];
        const float* scores = request.get_output_tensor(0).data<float>();
        return {scores, scores + CLASSES.size()};
    }

private:
    // float32 is set: otherwise OpenVINO uses bfloat16 where the processor has it, and the answers differ.
    ov::Core core;
    ov::InferRequest request =
        core.compile_model(FILE_NAME, "CPU", ov::hint::inference_precision(ov::element::f32)).create_infer_request();
};

}  // namespace mobilenets
