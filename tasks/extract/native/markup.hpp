// Markup: bytes of HTML in, tags and runs of text out.
//
// A tokenizer after the HTML standard (13.2.5) with what extraction has no use for left out. Every
// byte is looked at a bounded number of times, whatever the input: no page can make it slow.
#pragma once

#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tags.hpp"

namespace bloomery {

inline bool is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r' && c != '\v'); }
inline bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }
inline bool is_letter(unsigned char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }
inline char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

inline std::string lowered(std::string_view text) {
    std::string result(text);
    for (char& c : result) c = lower(c);
    return result;
}

inline bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

inline bool same_ignoring_case(std::string_view text, std::string_view lower_case) {
    if (text.size() != lower_case.size()) return false;
    for (size_t i = 0; i < text.size(); ++i)
        if (lower(text[i]) != lower_case[i]) return false;
    return true;
}

inline std::string_view stripped(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

// Bytes of the blank at the start of ``text``, no-break and ideographic spaces included; else 0.
inline size_t blank_width(std::string_view text) {
    if (is_space(text[0])) return 1;
    if (text.substr(0, 2) == "\xC2\xA0") return 2;
    return text.substr(0, 3) == "\xE3\x80\x80" ? 3 : 0;
}

// White space collapsed to single spaces, none at the ends.
inline std::string line_of(std::string_view text) {
    std::string line;
    bool is_between = false;
    for (size_t at = 0; at < text.size(); ++at) {
        if (const size_t width = blank_width(text.substr(at, 3))) {
            is_between = !line.empty();
            at += width - 1;
            continue;
        }
        if (is_between) line += ' ';
        is_between = false;
        line += text[at];
    }
    return line;
}

// The first ``num_chars`` characters.
inline std::string_view first_chars(std::string_view text, size_t num_chars) {
    for (size_t at = 0; at < text.size(); ++at)
        if ((text[at] & 0xC0) != 0x80 && num_chars-- == 0) return text.substr(0, at);
    return text;
}

// At most ``num_bytes`` of UTF-8, and no character in parts.
inline std::string_view first_bytes(std::string_view text, size_t num_bytes) {
    if (text.size() <= num_bytes) return text;
    while (num_bytes > 0 && (text[num_bytes] & 0xC0) == 0x80) --num_bytes;
    return text.substr(0, num_bytes);
}

inline void append_utf8(std::string& out, uint32_t code) {
    if (code < 0x80) {
        out += static_cast<char>(code);
    } else if (code < 0x800) {
        out += static_cast<char>(0xC0 | code >> 6);
        out += static_cast<char>(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        out += static_cast<char>(0xE0 | code >> 12);
        out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
        out += static_cast<char>(0x80 | (code & 0x3F));
    } else {
        out += static_cast<char>(0xF0 | code >> 18);
        out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
        out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
        out += static_cast<char>(0x80 | (code & 0x3F));
    }
}

// Character references. The table of names is the standard's, handed in once by the module.
class References {
public:
    static References& shared() {
        static References instance;
        return instance;
    }

    void add(std::string name, std::string text) { names_[std::move(name)] = std::move(text); }

    // Decode the reference at text[0] == '&' into ``out``; returns how many bytes it took, at least 1.
    size_t decode(std::string_view text, std::string& out, bool in_attribute) const {
        if (text.size() > 2 && text[1] == '#') return decode_number(text, out);
        size_t end = 1;
        while (end < text.size() && end < MAX_NAME && (is_letter(text[end]) || is_digit(text[end])))
            ++end;
        if (end < text.size() && text[end] == ';') {
            const auto found = names_.find(std::string(text.substr(1, end)));
            if (found != names_.end()) {
                out += found->second;
                return end + 1;
            }
        }
        if (in_attribute && end < text.size() && text[end] == '=') end = 1;
        for (size_t length = std::min<size_t>(end - 1, MAX_LEGACY_NAME); length >= 2; --length) {
            if (in_attribute && length + 1 < end) break;  // &copyright=… in a URL is no sign
            const auto found = names_.find(std::string(text.substr(1, length)));
            if (found != names_.end()) {
                out += found->second;
                return length + 1;
            }
        }
        out += '&';
        return 1;
    }

private:
    static constexpr size_t MAX_NAME = 33;
    static constexpr size_t MAX_LEGACY_NAME = 6;
    std::unordered_map<std::string, std::string> names_;

    static size_t decode_number(std::string_view text, std::string& out) {
        const bool is_hex = (text[2] | 32) == 'x';
        size_t at = is_hex ? 3 : 2;
        const size_t start = at;
        uint32_t code = 0;
        for (; at < text.size(); ++at) {
            const char c = text[at];
            uint32_t digit;
            if (is_digit(c)) digit = c - '0';
            else if (is_hex && is_letter(c) && (c | 32) <= 'f') digit = (c | 32) - 'a' + 10;
            else break;
            code = code > 0x10FFFF ? code : code * (is_hex ? 16 : 10) + digit;
        }
        if (at == start) {
            out += '&';
            return 1;
        }
        if (at < text.size() && text[at] == ';') ++at;
        append_utf8(out, repaired(code));
        return at;
    }

    // 13.2.5.80: numbers of windows-1252's signs are taken for them, impossible ones are U+FFFD.
    static uint32_t repaired(uint32_t code) {
        static constexpr std::array<uint16_t, 32> windows = {
            0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
            0x2039, 0x0152, 0x8D,   0x017D, 0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
            0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};
        if (code >= 0x80 && code < 0xA0) return windows[code - 0x80];
        const bool is_surrogate = code >= 0xD800 && code < 0xE000;
        return code == 0 || is_surrogate || code > 0x10FFFF ? 0xFFFD : code;
    }
};

inline std::string decoded(std::string_view raw, bool in_attribute) {
    std::string out;
    out.reserve(raw.size());
    for (size_t at = 0; at < raw.size();) {
        if (raw[at] == '&') at += References::shared().decode(raw.substr(at), out, in_attribute);
        else out += raw[at++];
    }
    return out;
}

// The attributes that are ever asked for; all others are passed over.
enum class Attribute : uint8_t {
    ALT, ALTTEXT, ARIA_HIDDEN, CLASS, CONTENT, DATETIME, DISPLAY, ENCODING, HIDDEN, HREF, HTTP_EQUIV,
    ID, ITEMPROP, LANG, NAME, PROPERTY, REL, ROLE, SRC, START, STYLE, TITLE, TYPE, XML_LANG, COUNT,
};

struct Token {
    enum class Type : uint8_t { TEXT, START, END } type = Type::TEXT;
    std::string_view text;  // of TEXT: the raw bytes; all below is of tags
    std::string name;       // in lower case
    TagInfo info;
    bool is_self_closing = false;
    std::array<std::string_view, static_cast<size_t>(Attribute::COUNT)> attributes;  // raw
    uint32_t present = 0;

    bool has(Attribute a) const { return present >> static_cast<int>(a) & 1; }
    std::string_view raw(Attribute a) const {
        return has(a) ? attributes[static_cast<size_t>(a)] : std::string_view{};
    }
    std::string value(Attribute a) const { return decoded(raw(a), true); }
};

class Tokenizer {
public:
    explicit Tokenizer(std::string_view html) : html_(html) {}

    bool next(Token& token) {
        while (at_ < html_.size()) {
            if (html_[at_] == '<') {
                if (read_tag(token)) return true;
                if (skip_declaration()) continue;
            }
            read_text(token);
            return true;
        }
        return false;
    }

    // The bytes before the next end tag of ``name``; all that is left if there is none.
    std::string_view peek_until_end(std::string_view name) {
        return html_.substr(at_, end_tag(name) == npos ? npos : end_tag(name) - at_);
    }

    // The same, consumed, and the end tag with it.
    std::string_view raw_until_end(std::string_view name) {
        const std::string_view raw = peek_until_end(name);
        const size_t close = html_.find('>', at_ + raw.size());
        at_ = close == npos ? html_.size() : close + 1;
        return raw;
    }

    bool has_end(std::string_view name) { return end_tag(name) != npos; }

    std::string_view take_rest() { return html_.substr(std::exchange(at_, html_.size())); }

    bool is_xml() const { return stripped(html_.substr(0, 100)).substr(0, 5) == "<?xml"; }

private:
    static constexpr size_t npos = std::string_view::npos;
    std::string_view html_;
    size_t at_ = 0;
    std::unordered_map<std::string, size_t> end_tags_;  // by name: the last answer of end_tag

    // Where the next end tag of ``name`` begins. Remembered, lest a page that asks often be slow.
    size_t end_tag(std::string_view name) {
        const auto [known, is_new] = end_tags_.try_emplace(std::string(name), 0);
        size_t& found = known->second;
        if (!is_new && found >= at_) return found;
        for (found = at_; (found = html_.find("</", found)) != npos; found += 2) {
            const size_t follows = found + 2 + name.size();
            if (!same_ignoring_case(html_.substr(found + 2, name.size()), name)) continue;
            if (follows >= html_.size() || is_space(html_[follows]) || html_[follows] == '>' ||
                html_[follows] == '/')
                break;
        }
        return found;
    }

    void read_text(Token& token) {
        const size_t start = at_;
        const size_t next = html_.find('<', at_ + 1);
        at_ = next == npos ? html_.size() : next;
        token.type = Token::Type::TEXT;
        token.text = html_.substr(start, at_ - start);
    }

    // Comments, doctypes and processing instructions; false if '<' begins none of them.
    bool skip_declaration() {
        if (at_ + 1 >= html_.size()) return false;
        const char kind = html_[at_ + 1];
        if (kind != '!' && kind != '?' && kind != '/') return false;
        if (html_.compare(at_, 4, "<!--") == 0) {
            skip_comment();
            return true;
        }
        if (kind == '/' && at_ + 2 >= html_.size()) return false;
        const size_t close = html_.find('>', at_ + 1);
        at_ = close == npos ? html_.size() : close + 1;
        return true;
    }

    void skip_comment() {
        if (html_.compare(at_, 5, "<!-->") == 0 || html_.compare(at_, 6, "<!--->") == 0) {
            at_ = html_.find('>', at_) + 1;
            return;
        }
        size_t end = html_.find("--", at_ + 4);
        while (end != npos) {
            size_t after = end + 2;
            if (after < html_.size() && html_[after] == '!') ++after;
            if (after < html_.size() && html_[after] == '>') {
                at_ = after + 1;
                return;
            }
            end = html_.find("--", end + 1);
        }
        at_ = html_.size();
    }

    bool read_tag(Token& token) {
        size_t at = at_ + 1;
        const bool is_end = at < html_.size() && html_[at] == '/';
        if (is_end) ++at;
        if (at >= html_.size() || !is_letter(html_[at])) return false;
        token.present = 0;
        token.is_self_closing = false;
        token.name.clear();
        for (; at < html_.size() && !is_space(html_[at]) && html_[at] != '>' && html_[at] != '/'; ++at)
            if (token.name.size() < MAX_NAME) token.name += lower(html_[at]);
        at_ = read_attributes(token, at);
        token.type = is_end ? Token::Type::END : Token::Type::START;
        token.info = tag_info(token.name);
        return true;
    }

    // From after the name to after '>'.
    size_t read_attributes(Token& token, size_t at) {
        while (at < html_.size()) {
            bool is_after_slash = false;
            for (; at < html_.size() && (is_space(html_[at]) || html_[at] == '/'); ++at)
                is_after_slash = html_[at] == '/';
            if (at >= html_.size()) break;
            if (html_[at] == '>') {
                token.is_self_closing = is_after_slash;
                return at + 1;
            }
            const size_t name_start = at++;
            while (at < html_.size() && !is_space(html_[at]) && html_[at] != '/' && html_[at] != '>' &&
                   html_[at] != '=')
                ++at;
            const std::string_view name = html_.substr(name_start, at - name_start);
            size_t value_at = at;
            while (value_at < html_.size() && is_space(html_[value_at])) ++value_at;
            std::string_view value;
            if (value_at < html_.size() && html_[value_at] == '=') at = read_value(value_at + 1, value);
            keep(token, name, value);
        }
        return html_.size();
    }

    size_t read_value(size_t at, std::string_view& value) {
        while (at < html_.size() && is_space(html_[at])) ++at;
        if (at >= html_.size()) return at;
        const char quote = html_[at];
        if (quote == '"' || quote == '\'') {
            const size_t close = html_.find(quote, at + 1);
            const size_t end = close == npos ? html_.size() : close;
            value = html_.substr(at + 1, end - at - 1);
            return std::min(html_.size(), end + 1);
        }
        const size_t start = at;
        while (at < html_.size() && !is_space(html_[at]) && html_[at] != '>') ++at;
        value = html_.substr(start, at - start);
        return at;
    }

    static void keep(Token& token, std::string_view name, std::string_view value) {
        if (name.size() > MAX_ATTRIBUTE_NAME) return;
        static const std::unordered_map<std::string_view, Attribute> known = {
            {"alt", Attribute::ALT}, {"alttext", Attribute::ALTTEXT},
            {"aria-hidden", Attribute::ARIA_HIDDEN}, {"class", Attribute::CLASS},
            {"content", Attribute::CONTENT}, {"datetime", Attribute::DATETIME},
            {"display", Attribute::DISPLAY}, {"encoding", Attribute::ENCODING},
            {"hidden", Attribute::HIDDEN}, {"href", Attribute::HREF},
            {"http-equiv", Attribute::HTTP_EQUIV}, {"id", Attribute::ID},
            {"itemprop", Attribute::ITEMPROP}, {"lang", Attribute::LANG}, {"name", Attribute::NAME},
            {"property", Attribute::PROPERTY}, {"rel", Attribute::REL}, {"role", Attribute::ROLE},
            {"src", Attribute::SRC}, {"start", Attribute::START}, {"style", Attribute::STYLE},
            {"title", Attribute::TITLE}, {"type", Attribute::TYPE}, {"xml:lang", Attribute::XML_LANG},
        };
        char buffer[MAX_ATTRIBUTE_NAME];
        for (size_t i = 0; i < name.size(); ++i) buffer[i] = lower(name[i]);
        const auto found = known.find(std::string_view(buffer, name.size()));
        if (found == known.end() || token.has(found->second)) return;
        token.present |= 1u << static_cast<int>(found->second);
        token.attributes[static_cast<size_t>(found->second)] = value;
    }

    static constexpr size_t MAX_NAME = 40;
    static constexpr size_t MAX_ATTRIBUTE_NAME = 12;
};

}  // namespace bloomery
