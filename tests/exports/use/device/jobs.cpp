// Reads jobs from standard input, a line and the pixels each, and writes what preprocess.hpp makes of them.
// width height bytes orientation size resize crop_fraction interpolation scale mean*3 std*3 fill*3 planes batch
#include <iostream>
#include <sstream>

#include "preprocess.hpp"

using namespace mobilenets;

int main() {
    std::string line;
    while (std::getline(std::cin, line)) {
        std::istringstream words(line);
        int width, height, bytes, orientation, planes, batch;
        Preprocessing how;
        words >> width >> height >> bytes >> orientation >> how.size >> how.resize >> how.crop_fraction >> how.interpolation >> how.scale;
        for (double& one : how.mean) words >> one;
        for (double& one : how.std) words >> one;
        for (int& one : how.fill) words >> one;
        words >> planes >> batch;
        Pixels read{width, height, std::vector<uint8_t>(static_cast<std::size_t>(bytes) * width * height)};
        std::cin.read(reinterpret_cast<char*>(read.data.data()), read.data.size());
        if (bytes == 4) read = on_white(read.data.data(), width, height);
        const Pixels made = fit(static_cast<Picture>(read).upright(orientation), how);
        std::cout.write(reinterpret_cast<const char*>(made.data.data()), made.data.size());
        const auto whole = numbers<uint8_t>(made, how, planes, batch);
        std::cout.write(reinterpret_cast<const char*>(whole.data()), whole.size());
        const auto floats = numbers<float>(made, how, planes, batch);
        std::cout.write(reinterpret_cast<const char*>(floats.data()), 4 * floats.size());
    }
}
