// A page as extraction sees it: elements, blocks of text in document order, and what it says of itself.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tags.hpp"

namespace bloomery {

enum class Kind : uint8_t { PARAGRAPH, HEADING, ITEM, TERM, QUOTE, CODE, ROW, CAPTION };

// What an element is, by its tag, role and the words in its class and id; see marks.hpp.
using Marks = uint64_t;

struct Element {
    int32_t parent = -1;
    uint16_t depth = 0;
    Tag tag = Tag::OTHER;
    bool is_block = false;
    Marks marks = 0;
    uint64_t path = 0;      // equal for elements under equal tags and classes
    uint64_t tag_path = 0;  // equal for elements under equal tags
};

struct Block {
    int32_t element = 0;  // the block-level element it stands in
    Kind kind = Kind::PARAGRAPH;
    uint8_t level = 0;        // of a heading
    uint8_t list_depth = 0;   // lists around it
    uint8_t quote_depth = 0;  // quotations around it
    bool begins_item = false; // the first block of a list item, a definition or a cell
    bool is_hidden = false;   // by its style or for assistive technology
    bool in_button = false;
    bool is_head_row = false;
    int32_t number = 0;       // of an item in a numbered list, else 0
    int32_t table = -1;       // element of the innermost table
    int32_t row = -1;         // element of the row
    int32_t cell = -1;        // element of the cell
    int32_t link_chars = 0, bold_chars = 0;
    int32_t num_links = 0, num_images = 0, num_breaks = 0;
    Marks inline_marks = 0;   // of the inline elements around its first letter
    std::string language;     // of code
    std::string text;

    // Its text has become part of this block's.
    void add_counts(const Block& other) {
        link_chars += other.link_chars;
        bold_chars += other.bold_chars;
        num_links += other.num_links;
        num_images += other.num_images;
    }
};

// What tasks/extract/head.py describes, where each part is from.
struct Head {
    std::string title, language, base;
    std::vector<std::pair<std::string, std::string>> metas, links, anchors;
    std::vector<std::array<std::string, 3>> signs;
    std::vector<std::string> json_ld;
};

struct Page {
    std::vector<Element> elements;
    std::vector<Block> blocks;
    Head head;
};

}  // namespace bloomery
