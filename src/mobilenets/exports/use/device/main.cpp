// One picture through the exported file: ./main photo.ppm [EXIF orientation], or ./main --check for a picture drawn here.
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <numeric>
#include <stdexcept>

#include "model.hpp"
#include "runtime.hpp"

using namespace mobilenets;

// Binary PPM, as `djpeg -ppm` and `convert photo.jpg photo.ppm` write it.
Pixels read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    int width = 0, height = 0, most = 0;
    file >> kind >> width >> height >> most;
    file.get();
    if (kind != "P6" || most != 255 || width < 1 || height < 1) throw std::runtime_error(path + ": not an 8-bit binary PPM (P6)");
    Pixels made{width, height, std::vector<uint8_t>(3 * static_cast<std::size_t>(width) * height)};
    if (!file.read(reinterpret_cast<char*>(made.data.data()), made.data.size())) throw std::runtime_error(path + ": ends early");
    return made;
}

// Waves from wide to narrow.
Pixels draw() {
    Pixels made{DRAWN_WIDTH, DRAWN_HEIGHT, {}};
    for (int y = 0; y < DRAWN_HEIGHT; y++)
        for (int x = 0; x < DRAWN_WIDTH; x++)
            for (int c = 0; c < 3; c++) made.data.push_back(((x * x * (c + 1) + 3 * y * (x + 5 * c)) >> 5) & 255);
    return made;
}

uint32_t crc32(const std::vector<uint8_t>& bytes) {
    uint32_t sum = 0xffffffff;
    for (uint8_t byte : bytes) {
        sum ^= byte;
        for (int bit = 0; bit < 8; bit++) sum = sum & 1 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
    }
    return ~sum;
}

std::vector<float> scores(Classifier& classifier, Picture picture) {
    auto found = classifier.run(numbers<Number>(picture, HOW, PLANES, BATCH), picture.width, picture.height);
    found.resize(CLASSES.size());
    return found;
}

int check(Classifier& classifier) {
    const Pixels drawn = draw();
    const Picture fitted = drawn;
    const Pixels seen = INSIDE ? drawn : fit(fitted, HOW);
    if (crc32(seen.data) != DRAWN_CRC32) return std::cout << "FAILED: the pixels differ\n", 1;
    const auto found = scores(classifier, seen);
    double off = 0, most = 0;
    for (std::size_t i = 0; i < found.size(); i++) {
        off = std::max(off, std::abs(static_cast<double>(found[i]) - DRAWN_OUTPUTS[i]));
        most = std::max(most, std::abs(static_cast<double>(DRAWN_OUTPUTS[i])));
    }
    const bool right = off <= TOLERANCE * most;
    std::cout << (right ? "OK: " : "FAILED: ") << "the pixels are right; largest difference in an output " << off << "\n";
    return right ? 0 : 1;
}

int main(int count, char** arguments) try {
    if (count < 2) throw std::runtime_error("usage: ./main photo.ppm [EXIF orientation], or ./main --check");
    Classifier classifier;
    if (arguments[1] == std::string("--check")) return check(classifier);
    const Pixels pixels = read_ppm(arguments[1]);
    const Picture picture = static_cast<Picture>(pixels).upright(count > 2 ? std::atoi(arguments[2]) : 1);
    const auto raw = INSIDE ? scores(classifier, picture) : scores(classifier, fit(picture, HOW));
    const auto found = LOGITS ? softmax(raw) : std::vector<double>(raw.begin(), raw.end());
    std::vector<std::size_t> order(found.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](auto one, auto other) { return found[one] > found[other]; });
    if (TELLS_UNKNOWN && !(classifier.distance <= BAR)) std::cout << "none of these; nearest:\n";
    order.resize(std::min<std::size_t>(3, order.size()));
    for (auto place : order) std::cout << CLASSES[place] << " " << std::setprecision(4) << found[place] << "\n";
} catch (const std::exception& error) {
    return std::cerr << error.what() << "\n", 2;
}
