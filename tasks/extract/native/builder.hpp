// The builder: tags and text in, elements and blocks of text out.
//
// A tree builder after the HTML standard (13.2.6), simplified where the difference does not change
// which text stands in which block: misnested inline elements are not split, and table content is not
// moved out of tables. A block is the text between two borders of block-level elements, or two line
// breaks in a row.
#pragma once

#include <algorithm>

#include "markup.hpp"
#include "marks.hpp"
#include "math.hpp"
#include "page.hpp"
#include "signs.hpp"
#include "tables.hpp"

namespace bloomery {

class Builder {
public:
    // ``markdown``: mark code, strong and emphasised text inside blocks.
    Builder(std::string_view html, bool markdown)
        : tokens_(html), markdown_(markdown), is_xml_(tokens_.is_xml()) {
        page_.elements.emplace_back();
        page_.elements[0].tag = Tag::HTML;
        page_.elements[0].is_block = true;
        Frame root;
        root.tag = Tag::HTML;
        root.traits = BLOCK | SCOPE;
        root.block_element = 0;
        stack_.push_back(root);
    }

    Page build() {
        Token token;
        while (tokens_.next(token)) {
            switch (token.type) {
                case Token::Type::TEXT: text(token.text); break;
                case Token::Type::START: start(token); break;
                case Token::Type::END: end(token); break;
            }
        }
        pop_to(1);
        flush();
        page_.head.signs = signs_.read();
        merge_data_tables(page_);
        return std::move(page_);
    }

private:
    struct Frame {
        int32_t element = 0, block_element = 0;
        uint64_t name = 0;
        Tag tag = Tag::OTHER;
        uint16_t traits = 0;
        Kind kind = Kind::PARAGRAPH;
        uint8_t level = 0, list_depth = 0, quote_depth = 0;
        bool is_verbatim = false, is_skipped = false, is_hidden = false, is_bold = false;
        bool in_button = false, begins_item = false;
        int32_t table = -1, row = -1, cell = -1;
        int32_t number = 0;       // of an item; of a numbered list, that of its next item
        const char* mark = nullptr;  // Markdown's sign around it
        bool is_mark_open = false;
        std::string language;
    };

    static constexpr size_t MAX_DEPTH = 256, MAX_INLINE_DEPTH = 192;
    // Of a page's first, later ones are not entered; text loses no letter by it. A block's features
    // and scores take about 3 KB and 10 µs, an element's 150 bytes.
    static constexpr size_t MAX_ELEMENTS = 1000000, MAX_BLOCKS = 50000;
    static constexpr size_t MAX_LANGUAGE_BYTES = 40;
    static constexpr size_t MAX_ANCHORS = 5000, MAX_METAS = 400, MAX_META_BYTES = 4000;
    static constexpr size_t MAX_JSON_LD = 30, MAX_JSON_LD_BYTES = 200000;

    Tokenizer tokens_;
    const bool markdown_, is_xml_;
    Page page_;
    std::vector<Frame> stack_;
    std::unordered_map<uint64_t, int32_t> num_open_;
    size_t num_not_entered_ = 0;
    size_t num_marks_to_open_ = 0;  // Markdown's, of frames whose is_mark_open is false
    bool in_link_ = false, has_title_ = false;
    Block block_;
    bool is_block_open_ = false, needs_space_ = false;
    int num_breaks_in_a_row_ = 0;
    SignReader signs_;
    std::string last_math_;

    Frame& top() { return stack_.back(); }

    static uint64_t hashed(std::string_view text, uint64_t seed = 1469598103934665603ull) {
        for (unsigned char c : text) seed = (seed ^ c) * 1099511628211ull;
        return seed;
    }

    // ---- start tags -------------------------------------------------------------------------

    void start(const Token& token) {
        const Tag tag = token.info.tag;
        const uint16_t traits = token.info.traits;
        if (ends_itself(token)) return;
        switch (tag) {
            case Tag::HTML:
                if (page_.head.language.empty()) page_.head.language = line_of(token.value(
                    token.has(Attribute::LANG) ? Attribute::LANG : Attribute::XML_LANG));
                return;
            case Tag::HEAD: return;
            case Tag::META: return read_meta(token);
            case Tag::LINK: return read_link(token);
            case Tag::BASE:
                if (page_.head.base.empty()) page_.head.base = line_of(token.value(Attribute::HREF));
                return;
            case Tag::TITLE: return read_title();
            case Tag::SCRIPT: return read_script(token);
            case Tag::MATH:
                if (!is_formula()) break;
                return read_math(token);
            case Tag::IMG: return read_image(token);
            case Tag::BR: return line_break();
            case Tag::BODY:
                if (num_open_.count(hashed("body"))) return;
                break;
            case Tag::A: begin_link(token); break;
            default: break;
        }
        if (traits & BLOCK && !top().is_verbatim) flush();
        imply_ends(tag, traits);
        if (traits & RAW) return read_raw(token);
        if (!(traits & VOID) && !push(token)) num_not_entered_ += needs_end_tag(token.info);
    }

    // <math/>; in XML also <script/> and its like, of which HTML says that all up to the next end tag
    // is theirs. Where none comes, that would be the rest of the page.
    bool ends_itself(const Token& token) {
        if (!token.is_self_closing) return false;
        if (token.info.tag == Tag::MATH || token.info.tag == Tag::SVG) return true;
        return token.info.traits & RAW && (is_xml_ || !tokens_.has_end(token.name));
    }

    // Whether what follows <math> is one formula: it has an end, and no other begins before that.
    bool is_formula() {
        return tokens_.has_end("math") && !contains(tokens_.peek_until_end("math"), "<math");
    }

    void imply_ends(Tag tag, uint16_t traits) {
        if (traits & CLOSES_P) leave_picture();
        if (traits & CLOSES_P) close_in_scope([](const Frame& f) { return f.tag == Tag::P; });
        if (is_heading(tag) && is_heading(top().tag)) pop();
        if (tag == Tag::LI) close_sibling([](Tag open) { return open == Tag::LI; });
        if (tag == Tag::DD || tag == Tag::DT)
            close_sibling([](Tag open) { return open == Tag::DD || open == Tag::DT; });
        if (tag == Tag::BUTTON) close_in_scope([](const Frame& f) { return f.tag == Tag::BUTTON; });
        if (tag == Tag::SELECT && top().tag == Tag::SELECT) pop();
        if (tag == Tag::TABLE && is_table_part(top().tag)) close_table();
        if (traits & TABLE_PART) enter_table_part(tag);
    }

    // A picture has no paragraphs: whoever begins one has forgotten to end it (13.2.6.5).
    void leave_picture() {
        static const uint64_t picture = hashed("svg"), page_in_picture = hashed("foreignobject");
        if (!num_open_.count(picture)) return;
        size_t keep = stack_.size();
        for (size_t at = stack_.size() - 1; at > 0 && stack_[at].name != page_in_picture; --at)
            if (stack_[at].name == picture) keep = at;
        pop_to(keep);
    }

    template <typename Matches>
    void close_in_scope(Matches matches) {
        for (size_t at = stack_.size() - 1; at > 0; --at) {
            if (matches(stack_[at])) return pop_to(at);
            if (stack_[at].traits & SCOPE) return;
        }
    }

    template <typename Matches>
    void close_sibling(Matches matches) {
        for (size_t at = stack_.size() - 1; at > 0; --at) {
            const Frame& frame = stack_[at];
            if (matches(frame.tag)) return pop_to(at);
            const bool is_passed =
                frame.tag == Tag::DIV || frame.tag == Tag::P || frame.tag == Tag::ADDRESS;
            if (frame.traits & BLOCK && !is_passed) return;
        }
    }

    static bool is_table_part(Tag tag) {
        return tag == Tag::TABLE || tag == Tag::TBODY || tag == Tag::THEAD || tag == Tag::TFOOT ||
               tag == Tag::TR;
    }

    // Close what cannot contain this part of a table; cells get the row they lack.
    void enter_table_part(Tag tag) {
        size_t table = stack_.size() - 1;
        while (table > 0 && stack_[table].tag != Tag::TABLE) --table;
        if (table == 0) return;
        size_t keep = table;
        for (size_t at = table + 1; at < stack_.size(); ++at) {
            const Tag open = stack_[at].tag;
            const bool is_group = open == Tag::TBODY || open == Tag::THEAD || open == Tag::TFOOT;
            const bool is_kept = (is_group && (tag == Tag::TR || is_cell(tag))) ||
                                 (open == Tag::TR && is_cell(tag));
            if (!is_kept) break;
            keep = at;
        }
        pop_to(keep + 1);
        if (is_cell(tag) && top().tag != Tag::TR) {
            Token row;
            row.name = "tr";
            row.info = tag_info("tr");
            push(row);
        }
    }

    void close_table() {
        size_t at = stack_.size() - 1;
        while (at > 0 && stack_[at].tag != Tag::TABLE) --at;
        if (at > 0) pop_to(at);
    }

    // Enter an element; false if the page has too many, one in another or in all.
    bool push(const Token& token) {
        const Tag tag = token.info.tag;
        const uint16_t traits = token.info.traits;
        if (stack_.size() >= (traits & BLOCK ? MAX_DEPTH : MAX_INLINE_DEPTH)) return false;
        if (page_.elements.size() >= MAX_ELEMENTS) return false;
        Frame frame = top();
        frame.element = add_element(token);
        frame.name = hashed(token.name);
        frame.tag = tag;
        frame.traits = traits;
        frame.mark = nullptr;
        frame.is_mark_open = false;
        if (traits & BLOCK) frame.block_element = frame.element;
        frame.is_skipped |= (traits & SKIPPED) || is_decoration(token);
        frame.is_verbatim |= (traits & VERBATIM) != 0;
        frame.is_hidden |= is_hidden(token);
        frame.is_bold |= tag == Tag::B || tag == Tag::STRONG || tag == Tag::TH;
        frame.in_button |= tag == Tag::BUTTON || tag == Tag::LABEL;
        frame.begins_item = false;
        set_kind(frame, token);
        signs_.begin(frame.element, token);
        ++num_open_[frame.name];
        num_marks_to_open_ += frame.mark != nullptr;
        stack_.push_back(std::move(frame));
        return true;
    }

    // Elements that are not entered are counted, so that their ends close nothing else.
    static bool needs_end_tag(const TagInfo& info) {
        const Tag tag = info.tag;
        return info.traits & BLOCK && !(info.traits & (TABLE_PART | VOID)) && tag != Tag::P &&
               tag != Tag::LI && tag != Tag::DD && tag != Tag::DT;
    }

    int32_t add_element(const Token& token) {
        const Element& parent = page_.elements[top().element];
        Element element;
        element.parent = top().element;
        element.depth = parent.depth + 1;
        element.tag = token.info.tag;
        element.is_block = token.info.traits & BLOCK;
        element.marks = marks_of(element.tag, token);
        if (element.is_block) {
            element.tag_path = hashed(token.name, parent.tag_path * 31);
            element.path = hashed(token.raw(Attribute::CLASS), hashed(token.name, parent.path * 31));
        } else {
            element.tag_path = parent.tag_path;
            element.path = parent.path;
        }
        page_.elements.push_back(element);
        return static_cast<int32_t>(page_.elements.size()) - 1;
    }

    void set_kind(Frame& frame, const Token& token) {
        const Tag tag = token.info.tag;
        if (is_heading(tag)) {
            frame.kind = Kind::HEADING;
            frame.level = static_cast<uint8_t>(static_cast<int>(tag) - static_cast<int>(Tag::H1) + 1);
        } else if (is_list(tag)) {
            frame.list_depth = std::min(frame.list_depth + 1, 20);
            frame.number = tag == Tag::OL ? number_of(token.raw(Attribute::START)) : 0;
        } else if (tag == Tag::LI) {
            frame.kind = Kind::ITEM;
            frame.begins_item = true;
            if (frame.number) ++stack_.back().number;  // the copy keeps this item's own
        } else if (tag == Tag::DT || tag == Tag::DD) {
            frame.kind = tag == Tag::DT ? Kind::TERM : Kind::PARAGRAPH;
        } else if (tag == Tag::BLOCKQUOTE) {
            frame.kind = Kind::QUOTE;
            frame.quote_depth = std::min(frame.quote_depth + 1, 20);
        } else if (frame.traits & VERBATIM) {
            frame.kind = Kind::CODE;
            frame.language = code_language(token);
        } else if (tag == Tag::CODE && frame.is_verbatim && frame.language.empty()) {
            frame.language = code_language(token);
        } else if (tag == Tag::FIGCAPTION || tag == Tag::CAPTION) {
            frame.kind = Kind::CAPTION;
        } else if (tag == Tag::TABLE) {
            frame.table = frame.element;
            frame.row = frame.cell = -1;
        } else if (tag == Tag::TR) {
            frame.row = frame.element;
        } else if (is_cell(tag)) {
            frame.cell = frame.element;
            frame.kind = Kind::PARAGRAPH;
        }
        if (!markdown_ || frame.is_verbatim) return;
        if (tag == Tag::CODE) frame.mark = "`";
        if (tag == Tag::B || tag == Tag::STRONG) frame.mark = "**";
        if (tag == Tag::I || tag == Tag::EM) frame.mark = "*";
    }

    static int32_t number_of(std::string_view start) {
        int32_t number = 0;
        for (char c : stripped(start)) {
            if (!is_digit(c) || number > 100000) return 1;
            number = number * 10 + (c - '0');
        }
        return std::max(number, 1);
    }

    static std::string code_language(const Token& token) {
        const std::string names = lowered(token.raw(Attribute::CLASS));
        for (std::string_view prefix : {"language-", "lang-", "highlight-source-", "brush: "}) {
            const size_t found = names.find(prefix);
            if (found == std::string::npos) continue;
            const size_t start = found + prefix.size();
            size_t end = start;
            while (end < names.size() && !is_space(names[end]) && names[end] != ';') ++end;
            if (end - start > MAX_LANGUAGE_BYTES) return {};  // every frame in it keeps a copy
            return names.substr(start, end - start);
        }
        return {};
    }

    // Numbers beside code and the drawn twin of a formula: text twice, or no text.
    static bool is_decoration(const Token& token) {
        if (!token.has(Attribute::CLASS)) return false;
        static const std::array<std::string_view, 18> names = {
            "katex-html", "MathJax_Preview", "MathJax", "MathJax_Display", "MathJax_SVG",
            "MathJax_SVG_Display", "MathJax_CHTML", "mjx-chtml", "mwe-math-fallback-image-inline",
            "lineno", "linenos", "linenodiv", "gutter", "line-numbers-rows", "rouge-gutter",
            "blob-num", "hljs-ln-numbers", "mw-editsection"};
        std::string_view rest = token.raw(Attribute::CLASS);
        while (!(rest = stripped(rest)).empty()) {
            size_t end = 0;
            while (end < rest.size() && !is_space(rest[end])) ++end;
            if (std::find(names.begin(), names.end(), rest.substr(0, end)) != names.end()) return true;
            rest.remove_prefix(end);
        }
        return false;
    }

    static bool is_hidden(const Token& token) {
        if (token.has(Attribute::HIDDEN)) return true;
        if (token.has(Attribute::ARIA_HIDDEN) &&
            same_ignoring_case(token.raw(Attribute::ARIA_HIDDEN), "true"))
            return true;
        if (!token.has(Attribute::STYLE)) return false;
        std::string style;
        for (char c : token.raw(Attribute::STYLE))
            if (!is_space(c)) style += lower(c);
        return contains(style, "display:none") || contains(style, "visibility:hidden");
    }

    // ---- end tags ---------------------------------------------------------------------------

    void end(const Token& token) {
        const Tag tag = token.info.tag;
        if (tag == Tag::A) in_link_ = false;
        if (tag == Tag::BR) return line_break();
        if (tag == Tag::HTML || tag == Tag::BODY || tag == Tag::HEAD) return;
        if (token.info.traits & BLOCK && !top().is_verbatim) flush();
        const uint64_t name = hashed(token.name);
        if (num_not_entered_ && needs_end_tag(token.info)) {
            --num_not_entered_;
            return;
        }
        if (!num_open_.count(name) && !is_heading(tag)) return;
        const uint16_t traits = token.info.traits;
        for (size_t at = stack_.size() - 1; at > 0; --at) {
            const Frame& frame = stack_[at];
            if (frame.name == name || (is_heading(tag) && is_heading(frame.tag))) return pop_to(at);
            const bool is_wall = traits & SKIPPED ? false  // all in it is skipped, closed or not
                                 : traits & TABLE_PART || tag == Tag::TABLE ? frame.tag == Tag::TABLE
                                 : traits & BLOCK ? (frame.traits & SCOPE) != 0
                                                  : (frame.traits & BLOCK) != 0;
            if (is_wall || (tag == Tag::LI && is_list(frame.tag))) return;
        }
    }

    void pop_to(size_t at) {
        while (stack_.size() > at) pop();
    }

    void pop() {
        Frame& frame = top();
        if (frame.traits & BLOCK && !(frame.is_verbatim && stack_[stack_.size() - 2].is_verbatim))
            flush();
        else if (frame.traits & BLOCK)
            verbatim_break();
        if (frame.is_mark_open) block_.text += frame.mark;
        else num_marks_to_open_ -= frame.mark != nullptr;
        signs_.end(frame.element);
        const auto open = num_open_.find(frame.name);
        if (--open->second == 0) num_open_.erase(open);
        stack_.pop_back();
    }

    // ---- text -------------------------------------------------------------------------------

    void text(std::string_view raw) {
        if (top().tag != Tag::TEMPLATE) signs_.text(top().element, raw);
        if (top().is_skipped) return;
        if (top().is_verbatim) return verbatim(raw);
        for (size_t at = 0; at < raw.size();) {
            const unsigned char c = raw[at];
            if (is_space(c)) {
                needs_space_ = true;
                ++at;
            } else if (c == '&') {
                std::string sign;
                at += References::shared().decode(raw.substr(at), sign, false);
                for (size_t i = 0; i < sign.size();) i += flow(std::string_view(sign).substr(i));
            } else {
                at += flow(raw.substr(at));
            }
        }
    }

    // Append the character at the start of ``text``; returns its bytes.
    size_t flow(std::string_view text) {
        const unsigned char c = text[0];
        size_t length = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
        length = std::min(length, text.size());
        const std::string_view sign = text.substr(0, length);
        if (blank_width(sign)) {  // a no-break space is a space to a reader of text
            needs_space_ = true;
            return length;
        }
        if (sign == "\xC2\xAD" || sign == "\xEF\xBB\xBF") return length;
        if (sign == "\xE2\x80\x8B" && !follows_unspaced_script()) return length;
        open_block();
        append(sign);
        return length;
    }

    // Scripts without spaces, from Thai on, may set words apart by zero-width spaces.
    bool follows_unspaced_script() const {
        const std::string& text = block_.text;
        return text.size() >= 3 && static_cast<unsigned char>(text[text.size() - 3]) >= 0xE0;
    }

    void append(std::string_view sign) {
        if (needs_space_ && !block_.text.empty() && block_.text.back() != '\n') block_.text += ' ';
        needs_space_ = false;
        num_breaks_in_a_row_ = 0;
        if (markdown_) open_marks();
        block_.text.append(sign);
        block_.link_chars += in_link_;
        block_.bold_chars += top().is_bold;
    }

    void verbatim(std::string_view raw) {
        std::string sign;
        for (size_t at = 0; at < raw.size();) {
            if (raw[at] == '&') {
                sign.clear();
                at += References::shared().decode(raw.substr(at), sign, false);
            } else {
                sign = raw[at++];
            }
            if (sign == "\r") continue;
            if (sign == "\xC2\xA0") sign = " ";
            if (!is_block_open_ && sign == "\n") continue;
            open_block();
            block_.text += sign;
            block_.link_chars += in_link_;
        }
    }

    void verbatim_break() {
        if (is_block_open_ && !block_.text.empty() && block_.text.back() != '\n') block_.text += '\n';
    }

    void line_break() {
        if (top().is_skipped) return;
        if (top().is_verbatim) {
            if (is_block_open_) block_.text += '\n';
            return;
        }
        if (!is_block_open_) return;
        if (++num_breaks_in_a_row_ >= 2) return flush();
        close_marks();
        block_.text += '\n';
        ++block_.num_breaks;
        needs_space_ = false;
    }

    void open_block() {
        if (is_block_open_) return;
        Frame& frame = top();
        block_ = Block{};
        block_.element = frame.block_element;
        block_.kind = frame.kind;
        block_.level = frame.level;
        block_.list_depth = frame.list_depth;
        block_.quote_depth = frame.quote_depth;
        block_.is_hidden = frame.is_hidden;
        block_.in_button = frame.in_button;
        block_.table = frame.table;
        block_.row = frame.row;
        block_.cell = frame.cell;
        block_.language = frame.language;
        for (size_t at = stack_.size() - 1; stack_[at].element != frame.block_element; --at)
            block_.inline_marks |= page_.elements[stack_[at].element].marks;
        for (size_t at = stack_.size() - 1; at > 0; --at) {
            Frame& around = stack_[at];
            if (around.tag != Tag::LI) {
                if (is_list(around.tag) || around.traits & SCOPE) break;
                continue;
            }
            block_.begins_item = around.begins_item;
            block_.number = around.begins_item ? around.number : 0;
            around.begins_item = false;
            break;
        }
        is_block_open_ = true;
        needs_space_ = false;
    }

    void flush() {
        num_breaks_in_a_row_ = 0;
        needs_space_ = false;
        if (!is_block_open_) return;
        is_block_open_ = false;
        close_marks();
        std::string& text = block_.text;
        while (!text.empty() && is_space(text.back())) text.pop_back();
        if (!text.empty()) add_block();
        block_ = Block{};
    }

    void add_block() {
        if (page_.blocks.size() < MAX_BLOCKS) return page_.blocks.push_back(std::move(block_));
        Block& last = page_.blocks.back();
        last.text += '\n' + block_.text;
        last.add_counts(block_);
    }

    // ---- Markdown ---------------------------------------------------------------------------

    void open_marks() {
        if (!num_marks_to_open_) return;
        for (Frame& frame : stack_) {
            if (!frame.mark || frame.is_mark_open) continue;
            block_.text += frame.mark;
            frame.is_mark_open = true;
        }
        num_marks_to_open_ = 0;
    }

    void close_marks() {
        if (!markdown_) return;
        for (size_t at = stack_.size(); at-- > 0;) {
            if (!stack_[at].is_mark_open) continue;
            block_.text += stack_[at].mark;
            stack_[at].is_mark_open = false;
            ++num_marks_to_open_;
        }
    }

    // ---- what the page says of itself -------------------------------------------------------

    void begin_link(const Token& token) {
        in_link_ = token.has(Attribute::HREF);
        if (!in_link_) return;
        if (is_block_open_) ++block_.num_links;
        if (page_.head.anchors.size() < MAX_ANCHORS)
            page_.head.anchors.emplace_back(line_of(token.value(Attribute::HREF)),
                                            lowered(line_of(token.value(Attribute::REL))));
    }

    void read_meta(const Token& token) {
        if (!token.has(Attribute::CONTENT) || page_.head.metas.size() >= MAX_METAS) return;
        const std::string content =
            line_of(decoded(first_bytes(token.raw(Attribute::CONTENT), MAX_META_BYTES), true));
        for (Attribute a : {Attribute::NAME, Attribute::PROPERTY, Attribute::ITEMPROP,
                            Attribute::HTTP_EQUIV})
            if (token.has(a) && !token.raw(a).empty() && !content.empty())
                page_.head.metas.emplace_back(lowered(line_of(token.value(a))), content);
    }

    void read_link(const Token& token) {
        if (token.raw(Attribute::REL).empty() || token.raw(Attribute::HREF).empty()) return;
        if (page_.head.links.size() < MAX_METAS)
            page_.head.links.emplace_back(lowered(line_of(token.value(Attribute::REL))),
                                          line_of(token.value(Attribute::HREF)));
    }

    void read_title() {
        const std::string_view raw = tokens_.raw_until_end("title");
        if (has_title_ || top().is_skipped) return;
        has_title_ = true;
        page_.head.title =
            first_chars(line_of(decoded(first_bytes(raw, MAX_META_BYTES), false)), MAX_SIGN_CHARS);
    }

    void read_script(const Token& token) {
        const std::string type = lowered(token.raw(Attribute::TYPE));
        const std::string_view raw = tokens_.raw_until_end("script");
        if (std::string_view(type).substr(0, 19) == "application/ld+json" && page_.head.json_ld.size() < MAX_JSON_LD)
            page_.head.json_ld.emplace_back(first_bytes(raw, MAX_JSON_LD_BYTES));
        else if (type.rfind("math/tex", 0) == 0)
            formula(MathReader::unwrapped(raw), contains(type, "display"));
    }

    void read_math(const Token& token) {
        const std::string_view content = tokens_.raw_until_end("math");
        formula(MathReader::tex(token, content),
                same_ignoring_case(token.raw(Attribute::DISPLAY), "block"));
    }

    void read_image(const Token& token) {
        if (is_block_open_) ++block_.num_images;
        if (!token.has(Attribute::ALT) || top().is_skipped) return;
        const std::string names = lowered(token.raw(Attribute::CLASS));
        const bool is_math = names == "tex" || contains(names, "latex") || contains(names, "math") ||
                             contains(token.raw(Attribute::SRC), "latex.php") ||
                             contains(token.raw(Attribute::SRC), "mathtex.cgi");
        if (!is_math) return;
        const std::string tex = MathReader::unwrapped(token.value(Attribute::ALT));
        if (tex != last_math_) formula(tex, false);
    }

    void formula(const std::string& tex, bool is_display) {
        last_math_ = tex;
        if (tex.empty() || top().is_skipped) return;
        open_block();
        std::string signs;
        for (char c : tex) signs += is_space(c) ? ' ' : c;
        const char* border = is_display ? "$$" : "$";
        append(border + signs + border);
    }

    void read_raw(const Token& token) {
        const bool is_text = token.info.traits & VERBATIM;
        const bool is_entered = is_text && push(token);
        const std::string_view raw =
            token.name == "plaintext" ? tokens_.take_rest() : tokens_.raw_until_end(token.name);
        if (!is_text) return;
        if (!top().is_skipped && !stripped(raw).empty()) {
            open_block();
            block_.text += raw;
        }
        if (is_entered) pop();
    }
};

}  // namespace bloomery
