// Signs: what readers see of a page's title, author and date.
//
// In: elements as they begin and end, and text nodes. Out: the signs that tasks/extract/head.py
// describes, in document order. The text of an element is what was read between its begin and its end.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "marks.hpp"

namespace bloomery {

constexpr size_t MAX_SIGN_CHARS = 300;

class SignReader {
public:
    void begin(int32_t element, const Token& token) {
        spans_.resize(element + 1);
        spans_[element] = {text_.size(), std::string::npos};
        const Tag tag = token.info.tag;
        if (tag == Tag::BODY || tag == Tag::TEMPLATE) return;  // neither is a line that somebody reads
        if (tag == Tag::H1) {
            add("h1", element, hints_of(token), {});
        } else if (tag == Tag::TIME) {
            add("time", element, hints_of(token), line_of(token.value(Attribute::DATETIME)));
        } else if (is_byline(token)) {
            add("byline", element, hints_of(token), spoken(token));
        } else if (tag == Tag::A && leads_to_author(token)) {
            add("author", element, hints_of(token), {});
        }
    }

    void end(int32_t element) { spans_[element].second = text_.size(); }

    void text(int32_t element, std::string_view raw) {
        text_.append(raw);
        text_ += ' ';
        const std::string_view seen = first_bytes(stripped(raw), MAX_RAW_BYTES);
        if (!has_year(seen) && !is_credit(seen)) return;
        const std::string line(first_chars(line_of(decoded(seen, false)), MAX_DATED_CHARS));
        if (has_year(line)) add("dated", element, {}, line);
        if (is_credit(line)) add("credit", element, {}, {});
    }

    std::vector<std::array<std::string, 3>> read() {
        std::vector<std::array<std::string, 3>> result;
        for (Sign& sign : signs_) {
            if (sign.text.empty()) sign.text = line_of(decoded(text_of(sign.element), false));
            result.push_back({sign.kind, std::move(sign.hints),
                              std::string(first_chars(sign.text, MAX_SIGN_CHARS))});
        }
        return result;
    }

private:
    struct Sign {
        const char* kind;
        int32_t element;
        std::string hints, text;
    };
    static constexpr size_t MAX_SIGNS = 2000, MAX_DATED_CHARS = 100, MAX_RAW_BYTES = 4096;

    std::string text_;                            // of all text nodes, raw
    // By element: where its text begins and ends. The first is the page itself, which nobody begins.
    std::vector<std::pair<size_t, size_t>> spans_{{0, std::string::npos}};
    std::vector<Sign> signs_;

    void add(const char* kind, int32_t element, std::string hints, std::string text) {
        if (signs_.size() < MAX_SIGNS)
            signs_.push_back({kind, element, std::move(hints), std::move(text)});
    }

    std::string_view text_of(int32_t element) const {
        const auto [start, end] = spans_[element];
        return first_bytes(std::string_view(text_).substr(start, end - start), MAX_RAW_BYTES);
    }

    static std::string hints_of(const Token& token) {
        std::string hints;
        for (Attribute a : {Attribute::REL, Attribute::ITEMPROP, Attribute::CLASS, Attribute::ID})
            if (token.has(a)) hints += token.value(a) + ' ';
        return lowered(line_of(hints));
    }

    static std::string spoken(const Token& token) {
        for (Attribute a : {Attribute::CONTENT, Attribute::DATETIME, Attribute::TITLE}) {
            if (!token.has(a) || (a == Attribute::TITLE && token.name != "abbr")) continue;
            if (std::string text = line_of(token.value(a)); !text.empty()) return text;
        }
        return {};
    }

    static const std::vector<const char*>& byline_hints() {
        static const std::vector<const char*> hints = {
            "author", "autor", "auteur", "byline", "by-line", "writer", "verfasser", "vcard", "date",
            "datum", "fecha", "publish", "posted", "created", "timestamp", "time-", "entry-meta",
            "post-meta", "article-meta", "meta-info"};
        return hints;
    }

    static bool is_byline(const Token& token) {
        static const MarkFinder finder({{"hint", byline_hints()}});  // quick, but - and _ are one to it
        const auto has_hint = [&](Attribute a) { return token.has(a) && finder.find(token.raw(a)); };
        if (!has_hint(Attribute::CLASS) && !has_hint(Attribute::ID) && !has_hint(Attribute::REL) &&
            !has_hint(Attribute::ITEMPROP))
            return false;
        const std::string hints = hints_of(token);
        for (std::string_view hint : byline_hints())
            if (contains(hints, hint)) return true;
        return false;
    }

    static bool leads_to_author(const Token& token) {
        for (std::string_view path : {"/author", "/autor", "/auteur", "/redakt", "/staff/"})
            if (contains(token.raw(Attribute::HREF), path)) return true;
        return false;
    }

    // 19.. or 20..
    static bool has_year(std::string_view text) {
        for (size_t at = 0; at + 4 <= text.size(); ++at) {
            const bool begins = (text[at] == '1' && text[at + 1] == '9') ||
                                (text[at] == '2' && text[at + 1] == '0');
            if (begins && is_digit(text[at + 2]) && is_digit(text[at + 3])) return true;
        }
        return false;
    }

    static bool is_credit(std::string_view text) {
        size_t end = 0;
        while (end < text.size() && is_letter(text[end])) ++end;
        if (!end || end > 30) return false;
        const std::string first = lowered(text.substr(0, end));
        const auto ends_word = [&](size_t at) {
            return at >= text.size() || is_space(text[at]) || text[at] == ':';
        };
        for (std::string_view word : {"by", "von", "por", "par", "di", "door", "author", "autor", "text"})
            if (first == word && ends_word(end)) return true;
        if (end >= text.size() || text[end] != ' ') return false;
        for (std::string_view word : {"by", "von"})
            if (lowered(text.substr(end + 1, word.size())) == word && ends_word(end + 1 + word.size()))
                return true;
        return false;
    }
};

}  // namespace bloomery
