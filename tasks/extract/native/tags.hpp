// The HTML elements that matter to extraction, and what each does to the text around it.
//
// In: a tag name in lower case. Out: its number and traits. Names that are not listed are OTHER: an
// inline element without effect, as in browsers.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>

namespace bloomery {

enum class Tag : uint8_t {
    OTHER, A, ADDRESS, ANNOTATION, ARTICLE, ASIDE, B, BASE, BLOCKQUOTE, BODY, BR, BUTTON, CAPTION,
    CENTER, CODE, DD, DETAILS, DIV, DL, DT, EM, FIELDSET, FIGCAPTION, FIGURE, FOOTER, FORM, FRAME,
    H1, H2, H3, H4, H5, H6, HEAD, HEADER, HR, HTML, I, IFRAME, IMG, LABEL, LI, LINK, MAIN, MATH,
    META, NAV, NOSCRIPT, OL, OPTION, P, PRE, SCRIPT, SECTION, SELECT, STRONG, STYLE, SUMMARY, SVG,
    TABLE, TBODY, TD, TEMPLATE, TEXTAREA, TFOOT, TH, THEAD, TIME, TITLE, TR, UL,
};

enum Trait : uint16_t {
    BLOCK = 1,       // begins and ends a block of text
    VOID = 2,        // has no content and no end tag
    RAW = 4,         // its content is not markup
    SKIPPED = 8,     // its content is no text of the page
    CLOSES_P = 16,   // ends an open paragraph (HTML standard, 13.2.6.4.7)
    SCOPE = 32,      // end tags do not reach through it (13.2.4.2)
    TABLE_PART = 64, // only an end tag of the same table reaches through it
    VERBATIM = 128,  // white space in it counts
};

struct TagInfo {
    Tag tag = Tag::OTHER;
    uint16_t traits = 0;
};

inline TagInfo tag_info(std::string_view name) {
    constexpr uint16_t flow = BLOCK | CLOSES_P;
    static const std::unordered_map<std::string_view, TagInfo> known = {
        {"a", {Tag::A, 0}},
        {"address", {Tag::ADDRESS, flow}},
        {"annotation", {Tag::ANNOTATION, 0}},
        {"area", {Tag::OTHER, VOID}},
        {"article", {Tag::ARTICLE, flow}},
        {"aside", {Tag::ASIDE, flow}},
        {"audio", {Tag::OTHER, SKIPPED}},
        {"b", {Tag::B, 0}},
        {"base", {Tag::BASE, VOID}},
        {"blockquote", {Tag::BLOCKQUOTE, flow}},
        {"body", {Tag::BODY, BLOCK}},
        {"br", {Tag::BR, VOID}},
        {"button", {Tag::BUTTON, BLOCK | SCOPE}},
        {"canvas", {Tag::OTHER, SKIPPED}},
        {"caption", {Tag::CAPTION, BLOCK | SCOPE | TABLE_PART}},
        {"center", {Tag::CENTER, flow}},
        {"code", {Tag::CODE, 0}},
        {"col", {Tag::OTHER, VOID}},
        {"datalist", {Tag::OTHER, SKIPPED}},
        {"dd", {Tag::DD, flow}},
        {"details", {Tag::DETAILS, flow}},
        {"dialog", {Tag::DIV, flow}},
        {"dir", {Tag::UL, flow}},
        {"div", {Tag::DIV, flow}},
        {"dl", {Tag::DL, flow}},
        {"dt", {Tag::DT, flow}},
        {"em", {Tag::EM, 0}},
        {"embed", {Tag::OTHER, VOID}},
        {"fieldset", {Tag::FIELDSET, flow}},
        {"figcaption", {Tag::FIGCAPTION, flow}},
        {"figure", {Tag::FIGURE, flow}},
        {"footer", {Tag::FOOTER, flow}},
        {"form", {Tag::FORM, flow}},
        {"frame", {Tag::FRAME, VOID}},
        {"h1", {Tag::H1, flow}},
        {"h2", {Tag::H2, flow}},
        {"h3", {Tag::H3, flow}},
        {"h4", {Tag::H4, flow}},
        {"h5", {Tag::H5, flow}},
        {"h6", {Tag::H6, flow}},
        {"head", {Tag::HEAD, BLOCK}},
        {"header", {Tag::HEADER, flow}},
        {"hgroup", {Tag::HEADER, flow}},
        {"hr", {Tag::HR, VOID | flow}},
        {"html", {Tag::HTML, BLOCK | SCOPE}},
        {"i", {Tag::I, 0}},
        {"iframe", {Tag::IFRAME, RAW | SKIPPED}},
        {"img", {Tag::IMG, VOID}},
        {"image", {Tag::IMG, VOID}},
        {"input", {Tag::OTHER, VOID}},
        {"label", {Tag::LABEL, 0}},
        {"legend", {Tag::LABEL, BLOCK}},
        {"li", {Tag::LI, flow}},
        {"link", {Tag::LINK, VOID}},
        {"listing", {Tag::PRE, flow | VERBATIM}},
        {"main", {Tag::MAIN, flow}},
        {"math", {Tag::MATH, 0}},
        {"menu", {Tag::UL, flow}},
        {"meta", {Tag::META, VOID}},
        {"mjx-math", {Tag::OTHER, SKIPPED}},
        {"nav", {Tag::NAV, flow}},
        {"noembed", {Tag::OTHER, RAW | SKIPPED}},
        {"noframes", {Tag::OTHER, 0}},
        {"noscript", {Tag::NOSCRIPT, SKIPPED}},
        {"object", {Tag::OTHER, SCOPE}},
        {"ol", {Tag::OL, flow}},
        {"optgroup", {Tag::OTHER, 0}},
        {"option", {Tag::OPTION, 0}},
        {"p", {Tag::P, flow}},
        {"param", {Tag::OTHER, VOID}},
        {"plaintext", {Tag::PRE, flow | VERBATIM | RAW}},
        {"pre", {Tag::PRE, flow | VERBATIM}},
        {"script", {Tag::SCRIPT, RAW | SKIPPED}},
        {"search", {Tag::FORM, flow}},
        {"section", {Tag::SECTION, flow}},
        {"select", {Tag::SELECT, SKIPPED}},
        {"source", {Tag::OTHER, VOID}},
        {"strong", {Tag::STRONG, 0}},
        {"style", {Tag::STYLE, RAW | SKIPPED}},
        {"summary", {Tag::SUMMARY, flow}},
        {"svg", {Tag::SVG, SKIPPED}},
        {"table", {Tag::TABLE, flow | SCOPE}},
        {"tbody", {Tag::TBODY, BLOCK | TABLE_PART}},
        {"td", {Tag::TD, BLOCK | SCOPE | TABLE_PART}},
        {"template", {Tag::TEMPLATE, SKIPPED | SCOPE}},
        {"textarea", {Tag::TEXTAREA, RAW | SKIPPED}},
        {"tfoot", {Tag::TFOOT, BLOCK | TABLE_PART}},
        {"th", {Tag::TH, BLOCK | SCOPE | TABLE_PART}},
        {"thead", {Tag::THEAD, BLOCK | TABLE_PART}},
        {"time", {Tag::TIME, 0}},
        {"title", {Tag::TITLE, RAW | SKIPPED}},
        {"tr", {Tag::TR, BLOCK | TABLE_PART}},
        {"track", {Tag::OTHER, VOID}},
        {"ul", {Tag::UL, flow}},
        {"video", {Tag::OTHER, SKIPPED}},
        {"wbr", {Tag::OTHER, VOID}},
        {"xmp", {Tag::PRE, flow | VERBATIM | RAW}},
    };
    const auto found = known.find(name);
    return found == known.end() ? TagInfo{} : found->second;
}

inline bool is_heading(Tag tag) { return tag >= Tag::H1 && tag <= Tag::H6; }
inline bool is_list(Tag tag) { return tag == Tag::UL || tag == Tag::OL; }
inline bool is_cell(Tag tag) { return tag == Tag::TD || tag == Tag::TH; }

}  // namespace bloomery
