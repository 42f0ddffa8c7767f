// A forest: boosted decision trees, evaluated.
//
// In: columns of numbers. Out: for each row the sum of the leaves it falls into, as a score from 0 to 1.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace bloomery {

class Forest {
public:
    // A split sends a row left if its value is not above the threshold. A leaf is a split that sends
    // every row to itself.
    struct Node {
        int32_t feature;
        float threshold;
        int32_t children[2];
    };
    struct Tree {
        int32_t root, depth;
    };

    // ``values``: one a node; that of a leaf counts.
    Forest(std::vector<Node> nodes, std::vector<float> values, std::vector<Tree> trees)
        : nodes_(std::move(nodes)), values_(std::move(values)), trees_(std::move(trees)) {}

    // Whether no row of ``width`` numbers leads out of the forest.
    bool fits(size_t width) const {
        const auto num_nodes = static_cast<int32_t>(nodes_.size());
        const auto is_node = [&](int32_t at) { return at >= 0 && at < num_nodes; };
        for (const Node& node : nodes_)
            if (node.feature < 0 || static_cast<size_t>(node.feature) >= width ||
                !is_node(node.children[0]) || !is_node(node.children[1]))
                return false;
        for (const Tree& tree : trees_)
            if (!is_node(tree.root)) return false;
        return values_.size() == nodes_.size();
    }

    // ``columns``: one after the other, each of ``num_rows`` numbers. A tree asks for few of them, so
    // that by columns what it asks for stays in the processor's nearest cache.
    std::vector<float> scores(const std::vector<float>& columns, size_t num_rows) const {
        std::vector<double> sums(num_rows, 0);
        for (size_t begin = 0; begin < num_rows; begin += ROWS_A_BATCH)
            add_up(columns.data(), num_rows, begin, std::min(num_rows, begin + ROWS_A_BATCH), sums);
        std::vector<float> scores;
        scores.reserve(num_rows);
        for (const double sum : sums) scores.push_back(static_cast<float>(1 / (1 + std::exp(-sum))));
        return scores;
    }

private:
    static constexpr size_t ROWS_A_BATCH = 256;

    // Tree by tree, each row as many steps as the tree is deep: a processor that need not guess when
    // a row is done follows several at once.
    void add_up(const float* columns, size_t num_rows, size_t begin, size_t end,
                std::vector<double>& sums) const {
        for (const Tree& tree : trees_) {
            for (size_t row = begin; row < end; ++row) {
                int32_t at = tree.root;
                for (int32_t step = 0; step < tree.depth; ++step) {
                    const Node& node = nodes_[at];
                    at = node.children[columns[node.feature * num_rows + row] > node.threshold];
                }
                sums[row] += values_[at];
            }
        }
    }

    std::vector<Node> nodes_;
    std::vector<float> values_;
    std::vector<Tree> trees_;
};

}  // namespace bloomery
