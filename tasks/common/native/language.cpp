// The module ``tasks.common._language``: texts to languages.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <limits>

#include "language.hpp"

namespace py = pybind11;
using namespace bloomery;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <typename T>
std::vector<T> to_vector(const Array<T>& array) {
    return std::vector<T>(array.data(), array.data() + array.size());
}

Text text_of(const py::str& text) {
    PyObject* object = text.ptr();
    return {PyUnicode_DATA(object), static_cast<int>(PyUnicode_KIND(object)),
            static_cast<int64_t>(PyUnicode_GET_LENGTH(object))};
}

Array<uint32_t> hashes_of(const Letters& letters, const py::str& text) {
    std::vector<uint32_t> hashes;
    const Text all = text_of(text);
    features(letters, all, 0, all.size, INT64_MAX, hashes);
    return Array<uint32_t>(static_cast<py::ssize_t>(hashes.size()), hashes.data());
}

Model model_of(const Letters& letters, const Array<int8_t>& table, const Array<float>& weights,
               const Array<float>& biases, float sharpness, float growth) {
    const auto rows = table.shape(0);
    if (table.ndim() != 2 || table.shape(1) != WIDTH || rows == 0 || (rows & (rows - 1)) ||
        weights.ndim() != 2 || weights.shape(0) != WIDTH || biases.ndim() != 1 ||
        weights.shape(1) != biases.shape(0) || biases.shape(0) == 0)
        throw std::invalid_argument("the model's arrays do not fit together");
    Model model;
    model.letters = letters;
    model.table = to_vector(table);
    model.num_labels = static_cast<int>(biases.shape(0));
    const size_t size = (model.num_labels + BLOCK_LABELS - 1) / BLOCK_LABELS * BLOCK_LABELS;
    model.biases.assign(size, std::numeric_limits<float>::lowest());
    std::copy(biases.data(), biases.data() + model.num_labels, model.biases.begin());
    model.weights.assign(WIDTH * size, 0);
    for (int d = 0; d < WIDTH; ++d)
        std::copy(weights.data(d, 0), weights.data(d, 0) + model.num_labels,
                  model.weights.begin() + static_cast<ptrdiff_t>(d * size));
    model.mask = static_cast<uint32_t>(rows - 1);
    model.sharpness = sharpness;
    model.sharpness_growth = growth;
    return model;
}

py::tuple logits_of(const Model& model, const py::str& text) {
    const Sum sum = model.sum(text_of(text));
    const std::vector<float> logits = model.logits(sum);
    return py::make_tuple(Array<float>(model.num_labels, logits.data()),
                          sum.num_letters);
}

std::tuple<int, float, int64_t> decide(const Model& model, const py::str& text) {
    const Sum sum = model.sum(text_of(text));
    const Answer answer = model.decide(sum);
    return {answer.label, answer.probability, sum.num_letters};
}

using Share = std::tuple<int, float, float>;  // label, share of characters, probability

std::vector<Share> read_document(const Model& model, const py::str& text) {
    const Reading reading = model.read(text_of(text));
    double total = 0;
    for (const auto& language : reading.languages) total += static_cast<double>(language.num_chars);
    std::vector<Share> shares;
    for (const auto& language : reading.languages) {
        const auto num_chars = static_cast<double>(language.num_chars);
        const double probability = language.label == reading.whole.label
            ? reading.whole.probability : language.sureness / num_chars;
        shares.emplace_back(language.label, num_chars / total, probability);
    }
    return shares;
}

}  // namespace

PYBIND11_MODULE(_language, module) {
    module.attr("WIDTH") = WIDTH;
    module.attr("OWN_LETTERS") = OWN_LETTERS;
    module.attr("OWN_PROBABILITY") = OWN_PROBABILITY;
    py::class_<Letters>(module, "Letters")
        .def(py::init([](const Array<uint32_t>& folded) { return Letters{to_vector(folded)}; }))
        .def("hashes", &hashes_of);
    py::class_<Model>(module, "Model")
        .def(py::init(&model_of))
        .def("logits", &logits_of)
        .def("decide", &decide)
        .def("read", &read_document);
}
