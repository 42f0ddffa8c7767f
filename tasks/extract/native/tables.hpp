// Tables: blocks of cells in, a block for each row of a data table out.
//
// The tables that lay out a page keep their blocks as they are.
#pragma once

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "page.hpp"

namespace bloomery {

class TableMerger {
public:
    explicit TableMerger(Page& page) : page_(page) {}

    void merge() {
        read_shapes();
        std::vector<Block> merged;
        merged.reserve(page_.blocks.size());
        for (Block& block : page_.blocks) {
            const bool is_data = block.table >= 0 && shapes_.at(block.table).is_data();
            if (is_data && !merged.empty() && merged.back().kind == Kind::ROW &&
                merged.back().row == block.row) {
                add_to_row(merged.back(), block);
                continue;
            }
            if (is_data) begin_row(block);
            merged.push_back(std::move(block));
        }
        page_.blocks = std::move(merged);
    }

private:
    struct Shape {
        int64_t num_blocks = 0, num_chars = 0, num_cells = 0, num_rows = 0, num_wide_rows = 0;
        int32_t last_cell = -1, last_row = -1, cells_in_row = 0;
        bool holds_other = false;  // code, a table, or text in no cell

        void add(const Block& block) {
            holds_other |= block.kind == Kind::CODE || block.cell < 0;
            num_blocks += 1;
            num_chars += static_cast<int64_t>(block.text.size());
            if (block.cell != last_cell) {
                num_cells += 1;
                if (block.row != last_row) {
                    num_rows += 1;
                    cells_in_row = 0;
                }
                num_wide_rows += ++cells_in_row == 2;
            }
            last_cell = block.cell;
            last_row = block.row;
        }

        // A table is data if most of its rows have several cells, and the cells little text each.
        bool is_data() const {
            return !holds_other && num_rows >= 2 && num_wide_rows * 2 > num_rows &&
                   num_blocks <= 2 * num_cells && num_chars <= 150 * num_cells;
        }
    };

    static constexpr int32_t MAX_ELEMENTS_BEFORE_TEXT = 300;

    Page& page_;
    std::unordered_map<int32_t, Shape> shapes_;  // by table, of tables that have text of their own

    void read_shapes() {
        for (const Block& block : page_.blocks)
            if (block.table >= 0) shapes_[block.table].add(block);
        for (const auto& [table, shape] : shapes_) {
            int32_t outer = enclosing_table(table);
            while (outer >= 0 && !shapes_.count(outer)) outer = enclosing_table(outer);
            if (outer >= 0) shapes_.at(outer).holds_other = true;
        }
    }

    int32_t enclosing_table(int32_t table) const {
        int32_t element = page_.elements[table].parent;
        while (element >= 0 && page_.elements[element].tag != Tag::TABLE)
            element = page_.elements[element].parent;
        return element;
    }

    void begin_row(Block& block) {
        block.kind = Kind::ROW;
        block.is_head_row = page_.elements[block.cell].tag == Tag::TH;
        block.element = block.row;
        // Empty cells before the first that has text keep their place. A row may begin anew after a
        // table two tables deep in it, and again and again: hence the limit.
        const int32_t end = std::min(block.cell, block.row + MAX_ELEMENTS_BEFORE_TEXT);
        block.text = borders(block.row, block.row + 1, end) + in_one_line(block.text);
    }

    void add_to_row(Block& row, const Block& block) {
        row.text += block.cell == row.cell ? " " : borders(row.row, row.cell + 1, block.cell + 1);
        row.text += in_one_line(block.text);
        row.cell = block.cell;
        row.is_head_row &= page_.elements[block.cell].tag == Tag::TH;
        row.add_counts(block);
    }

    // A border for each cell of ``row`` among the elements from ``begin`` to before ``end``.
    std::string borders(int32_t row, int32_t begin, int32_t end) const {
        std::string borders;
        for (int32_t element = begin; element < end; ++element)
            if (is_cell(page_.elements[element].tag) && page_.elements[element].parent == row)
                borders += " | ";
        return borders;
    }

    static std::string in_one_line(std::string text) {
        std::replace(text.begin(), text.end(), '\n', ' ');
        return text;
    }
};

inline void merge_data_tables(Page& page) { TableMerger(page).merge(); }

}  // namespace bloomery
