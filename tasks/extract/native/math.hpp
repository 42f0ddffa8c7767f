// Mathematics: MathML in, TeX out.
//
// Where the page carries the TeX that the formula was made from, that is taken; else the presentation
// elements of MathML Core are written as TeX.
#pragma once

#include <string>
#include <vector>

#include "markup.hpp"

namespace bloomery {

class MathReader {
public:
    // ``content``: what stands between <math> and </math>.
    static std::string tex(const Token& math, std::string_view content) {
        std::string tex = annotation(content);
        if (tex.empty() && math.has(Attribute::ALTTEXT)) tex = math.value(Attribute::ALTTEXT);
        if (tex.empty()) tex = MathReader(content).read();
        return unwrapped(tex);
    }

    // Without the {\displaystyle …} that MediaWiki puts around a formula, and without outer blanks.
    static std::string unwrapped(std::string_view tex) {
        tex = stripped(tex);
        for (std::string_view wrap : {"{\\displaystyle", "{\\textstyle"})
            if (tex.substr(0, wrap.size()) == wrap && tex.back() == '}')
                tex = stripped(tex.substr(wrap.size(), tex.size() - wrap.size() - 1));
        return std::string(tex);
    }

private:
    struct Group {
        std::string name;
        std::vector<std::string> parts;
    };
    static constexpr size_t MAX_DEPTH = 64;
    Tokenizer tokens_;
    std::vector<Group> open_{1};

    explicit MathReader(std::string_view content) : tokens_(content) {}

    static std::string annotation(std::string_view content) {
        Tokenizer tokens(content);
        Token token;
        while (tokens.next(token)) {
            if (token.type != Token::Type::START || token.info.tag != Tag::ANNOTATION) continue;
            if (contains(lowered(token.raw(Attribute::ENCODING)), "tex"))
                return decoded(tokens.raw_until_end("annotation"), false);
        }
        return {};
    }

    std::string read() {
        Token token;
        while (tokens_.next(token)) {
            if (token.type == Token::Type::TEXT) {
                const std::string text = decoded(stripped(token.text), false);
                if (!text.empty()) open_.back().parts.push_back(escaped(text));
            } else if (token.type == Token::Type::END) {
                close(token.name);
            } else if (token.name == "annotation" || token.name == "annotation-xml") {
                tokens_.raw_until_end(token.name);
            } else if (open_.size() < MAX_DEPTH && !token.is_self_closing) {
                open_.push_back({token.name, {}});
            }
        }
        while (open_.size() > 1) close(open_.back().name);
        return joined(open_.front().parts, " ");
    }

    void close(const std::string& name) {
        size_t at = open_.size() - 1;
        while (at > 0 && open_[at].name != name) --at;
        if (at == 0) return;
        while (open_.size() > at) {
            std::string tex = written(open_.back());
            open_.pop_back();
            if (!tex.empty()) open_.back().parts.push_back(std::move(tex));
        }
    }

    static std::string written(const Group& group) {
        const std::string& name = group.name;
        const auto part = [&](size_t i) { return i < group.parts.size() ? group.parts[i] : ""; };
        const auto braced = [&](size_t i) { return "{" + part(i) + "}"; };
        if (name == "mfrac") return "\\frac" + braced(0) + braced(1);
        if (name == "msqrt") return "\\sqrt{" + joined(group.parts, " ") + "}";
        if (name == "mroot") return "\\sqrt[" + part(1) + "]" + braced(0);
        if (name == "msup" || name == "mover") return part(0) + "^" + braced(1);
        if (name == "msub" || name == "munder") return part(0) + "_" + braced(1);
        if (name == "msubsup" || name == "munderover")
            return part(0) + "_" + braced(1) + "^" + braced(2);
        if (name == "mtext") return "\\text{" + joined(group.parts, " ") + "}";
        if (name == "mtd") return joined(group.parts, " ");
        if (name == "mtr") return joined(group.parts, " & ");
        if (name == "mtable") return "\\begin{matrix}" + joined(group.parts, " \\\\ ") + "\\end{matrix}";
        if (name == "mphantom") return {};
        return joined(group.parts, " ");
    }

    static std::string joined(const std::vector<std::string>& parts, const char* between) {
        std::string result;
        for (const std::string& part : parts) {
            if (!result.empty()) result += between;
            result += part;
        }
        return result;
    }

    static std::string escaped(const std::string& text) {
        return text == "{" || text == "}" || text == "%" || text == "#" ? "\\" + text : text;
    }
};

}  // namespace bloomery
