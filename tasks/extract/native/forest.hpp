// A forest: boosted decision trees, evaluated.
//
// In: a row of numbers. Out: the sum of the leaves it falls into, as a score from 0 to 1.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace bloomery {

struct Forest {
    // One entry a node. A child >= 0 is a node of the same forest; child -1 - i is leaf i.
    std::vector<int32_t> feature, left, right;
    std::vector<double> threshold, leaf;
    std::vector<int32_t> roots;

    double score(const float* row) const {
        double sum = 0;
        for (int32_t node : roots) {
            while (node >= 0) node = row[feature[node]] <= threshold[node] ? left[node] : right[node];
            sum += leaf[-1 - node];
        }
        return 1 / (1 + std::exp(-sum));
    }
};

}  // namespace bloomery
