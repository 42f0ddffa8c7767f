// The module ``tasks.extract._native``: HTML to scored blocks of text.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "features.hpp"
#include "forest.hpp"

namespace py = pybind11;
using namespace bloomery;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <typename T>
std::vector<T> to_vector(const Array<T>& array) {
    return std::vector<T>(array.data(), array.data() + array.size());
}

Array<float> to_array(const Table& table) {
    Array<float> array({table.num_rows(), table.width()});
    std::copy(table.values().begin(), table.values().end(), array.mutable_data());
    return array;
}

struct Model {
    Forest first, second;

    std::vector<float> score(const Page& page) const {
        const Features features(page);
        const Table seen = features.seen();
        std::vector<float> columns;
        seen.append_columns(columns);
        const std::vector<float> guess = first.scores(columns, seen.num_rows());
        features.guessed(guess.data()).append_columns(columns);
        return second.scores(columns, seen.num_rows());
    }
};

// The greatest float that is not above ``value``, so that comparing floats decides as doubles do.
float not_above(double value) {
    const float near = static_cast<float>(value);
    return near > value ? std::nextafter(near, -INFINITY) : near;
}

std::pair<std::vector<std::string>, std::vector<std::string>> feature_names() {
    const Page page = Builder("<p>a</p>", false).build();
    const Features features(page);
    const float score = 0;
    return {features.seen().names(), features.guessed(&score).names()};
}

Forest forest_of(const py::dict& arrays) {
    const auto ints = [&](const char* key) { return to_vector(arrays[key].cast<Array<int32_t>>()); };
    const auto feature = ints("feature"), left = ints("left"), right = ints("right");
    const auto roots = ints("roots"), depths = ints("depths");
    const auto threshold = to_vector(arrays["threshold"].cast<Array<double>>());
    std::vector<Forest::Node> nodes;
    for (size_t i = 0; i < feature.size(); ++i)
        nodes.push_back({feature[i], not_above(threshold.at(i)), {left.at(i), right.at(i)}});
    std::vector<Forest::Tree> trees;
    for (size_t i = 0; i < roots.size(); ++i) trees.push_back({roots[i], depths.at(i)});
    return Forest(std::move(nodes), to_vector(arrays["value"].cast<Array<float>>()), std::move(trees));
}

}  // namespace

PYBIND11_MODULE(_native, m) {
    m.doc() = "HTML to scored blocks of text.";

    py::enum_<Kind>(m, "Kind")
        .value("PARAGRAPH", Kind::PARAGRAPH)
        .value("HEADING", Kind::HEADING)
        .value("ITEM", Kind::ITEM)
        .value("TERM", Kind::TERM)
        .value("QUOTE", Kind::QUOTE)
        .value("CODE", Kind::CODE)
        .value("ROW", Kind::ROW)
        .value("CAPTION", Kind::CAPTION);

    py::class_<Block>(m, "Block")
        .def_readonly("kind", &Block::kind)
        .def_readonly("level", &Block::level)
        .def_readonly("list_depth", &Block::list_depth)
        .def_readonly("quote_depth", &Block::quote_depth)
        .def_readonly("begins_item", &Block::begins_item)
        .def_readonly("is_hidden", &Block::is_hidden)
        .def_readonly("is_head_row", &Block::is_head_row)
        .def_readonly("number", &Block::number)
        .def_readonly("table", &Block::table)
        .def_readonly("element", &Block::element)
        .def_readonly("link_chars", &Block::link_chars)
        .def_readonly("language", &Block::language)
        .def_readonly("text", &Block::text);

    py::class_<Page>(m, "Page")
        .def(py::init([](std::string_view html, bool markdown) { return Builder(html, markdown).build(); }),
             py::arg("html"), py::arg("markdown") = false)
        .def_readonly("blocks", &Page::blocks)
        .def("marks", [](const Page& page, size_t block) {
            Marks marks = page.blocks.at(block).inline_marks;
            for (int32_t e = page.blocks[block].element; e >= 0; e = page.elements[e].parent)
                marks |= page.elements[e].marks;
            std::vector<std::string> names;
            for (size_t bit = 0; bit < num_marks(); ++bit)
                if (marks >> bit & 1) names.emplace_back(mark_name(bit));
            return names;
        })
        .def_property_readonly("title", [](const Page& p) { return p.head.title; })
        .def_property_readonly("language", [](const Page& p) { return p.head.language; })
        .def_property_readonly("base", [](const Page& p) { return p.head.base; })
        .def_property_readonly("metas", [](const Page& p) { return p.head.metas; })
        .def_property_readonly("links", [](const Page& p) { return p.head.links; })
        .def_property_readonly("anchors", [](const Page& p) { return p.head.anchors; })
        .def_property_readonly("signs", [](const Page& p) {
            py::list signs;
            for (const auto& [kind, hints, text] : p.head.signs) signs.append(py::make_tuple(kind, hints, text));
            return signs;
        })
        .def_property_readonly("json_ld", [](const Page& p) { return p.head.json_ld; });

    py::class_<Model>(m, "Model")
        .def(py::init([](const py::dict& first, const py::dict& second) {
                 Model model{forest_of(first), forest_of(second)};
                 const auto [seen, guessed] = feature_names();
                 if (!model.first.fits(seen.size()) ||
                     !model.second.fits(seen.size() + guessed.size()))
                     throw py::value_error("the model does not fit the features of this build: "
                                           "train it anew, or build the extension anew");
                 return model;
             }),
             py::arg("first"), py::arg("second"))
        .def("score", [](const Model& model, const Page& page) {
            const std::vector<float> scores = model.score(page);
            return Array<float>(scores.size(), scores.data());
        });

    m.def("add_reference", [](std::string name, std::string text) {
        References::shared().add(std::move(name), std::move(text));
    });
    m.def("seen", [](const Page& page) { return to_array(Features(page).seen()); });
    m.def("guessed", [](const Page& page, const Array<float>& scores) {
        if (static_cast<size_t>(scores.size()) != page.blocks.size())
            throw py::value_error("one score a block, please");
        return to_array(Features(page).guessed(scores.data()));
    });
    m.def("feature_names", &feature_names);
}
