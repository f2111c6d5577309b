// From an upright picture to the network's input, bit for bit as in the Python package: Pillow's
// separable filters in fixed point, rows first, as model.json says. Standard C++17, nothing else. Not with -ffast-math.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace mobilenets {

// `preprocessing` of model.json.
struct Preprocessing {
    int size;
    std::string resize;
    double crop_fraction;
    std::string interpolation;
    double scale, mean[3], std[3];
    int fill[3];
};

// A view: red, green and blue of pixel (x, y) are at data + x * across + y * down. Turning it copies nothing.
struct Picture {
    const uint8_t* data;
    int width, height;
    std::ptrdiff_t across, down;

    const uint8_t* at(int x, int y) const { return data + x * across + y * down; }
    Picture transposed() const { return {data, height, width, down, across}; }

    // By EXIF's orientation, 1 to 8.
    Picture upright(int orientation) const {
        if (orientation >= 5 && orientation <= 8) {
            const int lying[] = {1, 4, 3, 2};  // 5 swaps rows and columns; the others rotate before that
            return upright(lying[orientation - 5]).transposed();
        }
        const bool mirrored = orientation == 2 || orientation == 3, upside_down = orientation == 3 || orientation == 4;
        return {at(mirrored ? width - 1 : 0, upside_down ? height - 1 : 0), width, height,
                mirrored ? -across : across, upside_down ? -down : down};
    }

    // Clockwise by 0, 90, 180 or 270 degrees, as cameras report it.
    Picture turned(int degrees) const {
        const int orientations[] = {1, 6, 3, 8};
        return upright(orientations[degrees / 90 % 4]);
    }
};

// A picture with its own pixels, in rows of red, green and blue.
struct Pixels {
    int width, height;
    std::vector<uint8_t> data;
    operator Picture() const { return {data.data(), width, height, 3, 3 * static_cast<std::ptrdiff_t>(width)}; }
};

// Put red, green, blue and alpha (not premultiplied) on white.
inline Pixels on_white(const uint8_t* rgba, int width, int height) {
    Pixels made{width, height, std::vector<uint8_t>(3 * static_cast<std::size_t>(width) * height)};
    for (std::size_t i = 0; i < made.data.size(); i++) {
        const unsigned value = rgba[i / 3 * 4 + i % 3], alpha = rgba[i / 3 * 4 + 3];
        const unsigned sum = ((value * alpha + 255 * (255 - alpha)) << 7) + (0x80 << 7);
        made.data[i] = static_cast<uint8_t>((((sum >> 8) + sum) >> 8) >> 7);
    }
    return made;
}

namespace details {

struct Span {  // the used part of a side, and how many pixels it becomes
    float from, to;
    int wanted;
};

struct Weights {  // for one output pixel: its first input pixel, and the weight of each in units of 2^-22
    int first;
    std::vector<int> values;
};

inline Span span(int side, int shorter, int longer, const Preprocessing& how) {
    if (how.resize == "crop") {
        const auto scaled = static_cast<int64_t>(std::nearbyint(how.size / how.crop_fraction)) * side / shorter;
        const double offset = std::nearbyint((scaled - how.size) / 2.0);  // half to even
        return {static_cast<float>(side * offset / scaled), static_cast<float>(side * (offset + how.size) / scaled),
                how.size};
    }
    const double fitted = how.resize == "pad" ? std::nearbyint(static_cast<double>(how.size) * side / longer) : how.size;
    return {0, static_cast<float>(side), std::max(1, static_cast<int>(fitted))};
}

inline double sinc(double x) { return x == 0 ? 1 : std::sin(x * 3.14159265358979323846) / (x * 3.14159265358979323846); }

inline double filter(const std::string& name, double x) {
    x = std::abs(x);
    if (name == "bilinear") return std::max(0.0, 1 - x);
    if (name == "lanczos") return x < 3 ? sinc(x) * sinc(x / 3) : 0;
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

inline std::vector<Weights> weights(int side, Span span, const std::string& name) {
    if (name != "nearest" && name != "bilinear" && name != "bicubic" && name != "lanczos")
        throw std::invalid_argument("no code here resizes by " + name + ": use Python's or the browser's");
    const int ONE = 1 << 22;
    const double step = static_cast<double>(span.to - span.from) / span.wanted, wide = std::max(step, 1.0);
    const double reach = (name == "bilinear" ? 1 : name == "bicubic" ? 2 : 3) * wide;
    std::vector<Weights> made(span.wanted);
    double nearest = span.from + step * 0.5;  // summed: a product would round differently
    for (int place = 0; place < span.wanted; place++, nearest += step) {
        if (name == "nearest") {
            if (nearest >= 0 && nearest < side) made[place] = {static_cast<int>(nearest), {ONE}};
            continue;
        }
        const double centre = span.from + (place + 0.5) * step;
        const int first = std::max(0, static_cast<int>(centre - reach + 0.5));
        const int last = std::min(side, static_cast<int>(centre + reach + 0.5));
        std::vector<double> shares;
        double sum = 0;
        for (int at = first; at < last; at++) {
            shares.push_back(filter(name, (at - centre + 0.5) * (1 / wide)));
            sum += shares.back();
        }
        made[place].first = first;
        for (double share : shares) {
            const double value = share / sum * ONE;
            made[place].values.push_back(static_cast<int>(value + (value < 0 ? -0.5 : 0.5)));
        }
    }
    return made;
}

// Resize each row of a picture to as many pixels as there are weights.
inline Pixels filtered(Picture picture, const std::vector<Weights>& weights) {
    const int width = static_cast<int>(weights.size());
    Pixels made{width, picture.height, {}};
    made.data.reserve(3 * static_cast<std::size_t>(width) * picture.height);
    for (int y = 0; y < picture.height; y++)
        for (const Weights& one : weights) {
            int sums[] = {1 << 21, 1 << 21, 1 << 21};
            const uint8_t* pixel = picture.at(one.first, y);
            for (int value : one.values) {
                for (int channel = 0; channel < 3; channel++) sums[channel] += value * pixel[channel];
                pixel += picture.across;
            }
            for (int sum : sums) made.data.push_back(static_cast<uint8_t>(std::clamp(sum >> 22, 0, 255)));
        }
    return made;
}

}  // namespace details

// Resize, and crop or pad: an upright picture of any size to `size` x `size`.
inline Pixels fit(Picture picture, const Preprocessing& how) {
    const int shorter = std::min(picture.width, picture.height), longer = std::max(picture.width, picture.height);
    const auto across = details::span(picture.width, shorter, longer, how);
    const auto down = details::span(picture.height, shorter, longer, how);
    auto below = details::weights(picture.height, down, how.interpolation);
    // Only the rows that the second pass needs.
    const int first = below.front().first, last = below.back().first + static_cast<int>(below.back().values.size());
    for (auto& one : below) one.first -= first;
    const Picture seen{picture.at(0, first), picture.width, last - first, picture.across, picture.down};
    const Pixels rows = details::filtered(seen, details::weights(picture.width, across, how.interpolation));
    const Pixels columns = details::filtered(static_cast<Picture>(rows).transposed(), below);
    const Picture fitted = static_cast<Picture>(columns).transposed();
    Pixels made{how.size, how.size, std::vector<uint8_t>(3 * static_cast<std::size_t>(how.size) * how.size)};
    const int left = (how.size - fitted.width) / 2, upper = (how.size - fitted.height) / 2;
    for (int y = 0; y < how.size; y++)
        for (int x = 0; x < how.size; x++)
            for (int channel = 0; channel < 3; channel++) {
                const int u = x - left, v = y - upper;
                const bool inside = u >= 0 && u < fitted.width && v >= 0 && v < fitted.height;
                made.data[3 * (static_cast<std::size_t>(y) * how.size + x) + channel] =
                    inside ? fitted.at(u, v)[channel] : static_cast<uint8_t>(how.fill[channel]);
            }
    return made;
}

// The file's input for one picture: uint8_t as it is, or float `(value * scale - mean) / std`; channel after channel
// (`planes`, NCHW) or in rows of pixels (NHWC); repeated where the file takes a batch.
template <class Number>
std::vector<Number> numbers(Picture picture, const Preprocessing& how, bool planes, int batch = 1) {
    const std::size_t area = static_cast<std::size_t>(picture.width) * picture.height;
    std::vector<Number> made(3 * area * batch);
    for (int channel = 0; channel < 3; channel++) {
        const auto scale = static_cast<float>(how.scale), mean = static_cast<float>(how.mean[channel]);
        Number table[256];
        for (int value = 0; value < 256; value++)
            table[value] = sizeof(Number) == 1 ? static_cast<Number>(value)
                                               : static_cast<Number>((value * scale - mean) / static_cast<float>(how.std[channel]));
        std::size_t to = planes ? channel * area : channel;
        for (int y = 0; y < picture.height; y++)
            for (int x = 0; x < picture.width; x++, to += planes ? 1 : 3) made[to] = table[picture.at(x, y)[channel]];
    }
    for (int copy = 1; copy < batch; copy++) std::copy_n(made.begin(), 3 * area, made.begin() + copy * 3 * area);
    return made;
}

// From the first picture's scores to probabilities that sum to 1.
inline std::vector<double> softmax(const std::vector<float>& scores) {
    const double greatest = *std::max_element(scores.begin(), scores.end());
    std::vector<double> made;
    double sum = 0;
    for (float score : scores) sum += made.emplace_back(std::exp(score - greatest));
    for (double& one : made) one /= sum;
    return made;
}

}  // namespace mobilenets
