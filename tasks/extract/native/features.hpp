// Features: what can be seen of a block of text, in numbers.
//
// In: a page. Out: a row of numbers a block: its own text, its neighbours, the elements around it, the
// blocks that stand under equal tags, and its place in the page. A second set, given a first guess of
// every block's score, says what is guessed of its surroundings. No number depends on the site.
#pragma once

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "builder.hpp"
#include "words.hpp"

namespace bloomery {

// Rows of equal width; the names of the columns are taken while the first row is written.
class Table {
public:
    void begin_row() {
        names_done_ = num_rows_ > 0;
        ++num_rows_;
    }
    void put(const char* name, double value) {
        if (!names_done_) names_.emplace_back(name);
        values_.push_back(static_cast<float>(value));
    }
    // A name made of parts, put together only where it is kept.
    void put(const char* name, int part, double value) {
        if (!names_done_) names_.push_back(name + std::to_string(part));
        values_.push_back(static_cast<float>(value));
    }

    const std::vector<float>& values() const { return values_; }
    const std::vector<std::string>& names() const { return names_; }
    size_t num_rows() const { return num_rows_; }
    size_t width() const { return names_.size(); }

    // Its columns, one after the other.
    void append_columns(std::vector<float>& columns) const {
        for (size_t column = 0; column < width(); ++column)
            for (size_t row = 0; row < num_rows_; ++row)
                columns.push_back(values_[row * width() + column]);
    }

private:
    std::vector<float> values_;
    std::vector<std::string> names_;
    size_t num_rows_ = 0;
    bool names_done_ = false;
};

// Counts over one block's text.
struct TextStats {
    double chars = 0;  // an ideograph counts three: it says as much as that many letters
    int words = 0, digits = 0, uppers = 0, letters = 0, sentence_ends = 0;
    int commas = 0, signs = 0, title_words = 0;
    int told_runs = 0, described_runs = 0, runs = 0;  // of three words
    std::array<int, 16> words_of{};                   // by word group
    uint64_t hash = 0;
    bool ends_sentence = false, ends_colon = false, ends_open = false, starts_upper = false;
    bool starts_quote = false, has_copyright = false, has_at = false, has_year = false;
    bool has_clock = false, has_question = false;
};

// Reads blocks in the light of what the page says of itself: its title, description and, in JSON-LD,
// its articleBody.
class TextReader {
public:
    explicit TextReader(const Head& head) {
        read(head.title, [this](std::string_view word) { title_.insert(hash_of(word)); });
        for (const auto& [name, content] : head.metas)
            if (name == "description" || name == "og:description" || name == "twitter:description")
                read_runs(content, [this](uint64_t run) { described_.insert(run); });
        for (const std::string& json : head.json_ld) read_bodies(json);
    }

    bool has_body() const { return !told_.empty(); }
    bool has_description() const { return !described_.empty(); }

    TextStats stats(std::string_view text) const {
        TextStats s;
        const auto see_run = [&](uint64_t run) {
            ++s.runs;
            s.told_runs += told_.count(run) > 0;
            s.described_runs += described_.count(run) > 0;
        };
        Run run;
        read(text, [&](std::string_view word) {
            const uint64_t hash = hash_of(word);
            ++s.words;
            s.hash = s.hash * 31 + hash;
            s.title_words += title_.count(hash) > 0;
            for (uint32_t marks = word_marks(word); marks; marks &= marks - 1)
                ++s.words_of[__builtin_ctz(marks)];
            if (run.add(hash)) see_run(run.hash());
        });
        count_signs(text, s);
        look_at_borders(text, s);
        return s;
    }

private:
    struct Run {
        uint64_t words[3] = {};
        int length = 0;

        bool add(uint64_t hash) {
            words[0] = words[1];
            words[1] = words[2];
            words[2] = hash;
            return ++length >= 3;
        }
        uint64_t hash() const { return (words[0] * 31 + words[1]) * 31 + words[2]; }
    };

    std::unordered_set<uint64_t> title_, told_, described_;

    static uint64_t hash_of(std::string_view word) { return std::hash<std::string_view>{}(word); }

    template <typename See>
    static void read_runs(std::string_view text, See see) {
        Run run;
        read(text, [&](std::string_view word) {
            if (run.add(hash_of(word))) see(run.hash());
        });
    }

    // The strings under "articleBody"; escapes other than of letters end words, which is all we need.
    void read_bodies(std::string_view json) {
        for (size_t at = 0; (at = json.find("\"articleBody\"", at)) != std::string_view::npos;) {
            size_t start = json.find('"', at + 13);
            if (start == std::string_view::npos) return;
            size_t end = ++start;
            std::string text;
            for (; end < json.size() && json[end] != '"'; ++end) {
                if (json[end] != '\\' || end + 1 >= json.size()) {
                    text += json[end];
                } else if (json[++end] == 'u') {
                    append_utf8(text, number_of_hex(json.substr(end + 1, 4)));
                    end += 4;
                } else {
                    text += ' ';
                }
            }
            const std::string plain = decoded(text, false);
            read_runs(plain, [this](uint64_t run) { told_.insert(run); });
            at = end;
        }
    }

    static uint32_t number_of_hex(std::string_view digits) {
        uint32_t number = 0;
        for (char c : digits)
            number = number * 16 + (is_digit(c) ? c - '0' : is_letter(c) ? (c | 32) - 'a' + 10 : 0);
        return number >= 0xD800 && number < 0xE000 ? ' ' : number & 0xFFFF;
    }

    template <typename See>
    static void read(std::string_view text, See see) {
        char word[48];
        size_t length = 0;
        for (size_t at = 0; at <= text.size(); ++at) {
            const unsigned char c = at < text.size() ? text[at] : ' ';
            const bool is_wide = is_wide_punctuation(text, at);
            const bool is_part = is_letter(c) || is_digit(c) || (c >= 0x80 && !is_wide);
            if (is_part && length < sizeof word) word[length++] = lower(static_cast<char>(c));
            else if (!is_part && length) {
                see(std::string_view(word, length));
                length = 0;
            }
            if (is_wide) at += 2;
        }
    }

    // U+2000…U+203F, of three bytes: blanks, dashes, quotation marks, bullets, ellipsis.
    static bool is_wide_punctuation(std::string_view text, size_t at) {
        return at + 2 < text.size() && text.substr(at, 2) == "\xE2\x80";
    }

    static void count_signs(std::string_view text, TextStats& s) {
        int digits_in_a_row = 0;
        for (size_t at = 0; at < text.size(); ++at) {
            const unsigned char c = text[at];
            if ((c & 0xC0) == 0x80) continue;
            s.chars += c >= 0xE3 && c <= 0xED ? 3 : 1;
            if (is_letter(c)) {
                ++s.letters;
                s.uppers += c < 'a';
            } else if (c >= 0x80) {
                ++s.letters;
            }
            if (is_digit(c)) {
                ++s.digits;
                if (++digits_in_a_row == 4 && is_year(text.substr(at - 3, 5))) s.has_year = true;
            } else {
                digits_in_a_row = 0;
            }
            const unsigned char next = at + 1 < text.size() ? text[at + 1] : ' ';
            if ((c == '.' || c == '!' || c == '?') && (is_space(next) || next == '"' || next == ')' || next >= 0x80))
                ++s.sentence_ends;
            s.has_question |= c == '?';
            s.commas += c == ',' || c == ';';
            s.signs += c == '|' || c == '/' || c == '>' || c == '<' || c == '#' || c == '+' || c == '*';
            s.has_at |= c == '@';
            s.has_clock |= c == ':' && at && is_digit(text[at - 1]) && is_digit(next);
            if (c == 0xC2 && next == 0xA9) s.has_copyright = true;
            if (c == 0xC2 && (next == 0xBB || next == 0xAB || next == 0xB7)) ++s.signs;
            if (c == 0xE3 && text.substr(at, 3) == "。") ++s.sentence_ends;
            if ((c == 0xEF && text.substr(at, 3) == "，") || (c == 0xE3 && text.substr(at, 3) == "、")) ++s.commas;
        }
    }

    static bool is_year(std::string_view four) {
        const bool in_range = four.substr(0, 2) == "19" || four.substr(0, 2) == "20";
        return in_range && (four.size() < 5 || !is_digit(four[4]));
    }

    static bool ends_with(std::string_view text, std::initializer_list<std::string_view> ends) {
        for (std::string_view end : ends)
            if (text.size() >= end.size() && text.substr(text.size() - end.size()) == end) return true;
        return false;
    }

    static void look_at_borders(std::string_view text, TextStats& s) {
        if (text.empty()) return;
        std::string_view body = text;
        while (ends_with(body, {"\"", "'", ")", "]"})) body.remove_suffix(1);
        while (ends_with(body, {"”", "’", "“", "»"})) body.remove_suffix(body.back() == '\xBB' ? 2 : 3);
        s.ends_sentence = ends_with(body, {".", "!", "?", "。", "！", "？", "।", "؟", "۔"}) &&
                          !ends_with(body, {"..."});
        s.ends_colon = ends_with(text, {":"});
        s.ends_open = ends_with(text, {"...", "…", "»", "›", "→", ">"});
        s.starts_upper = text[0] >= 'A' && text[0] <= 'Z';
        s.starts_quote = text[0] == '"' || text.substr(0, 3) == "“" || text.substr(0, 3) == "„" ||
                         text.substr(0, 2) == "«";
    }
};

// Sums over a set of blocks.
struct Sums {
    double chars = 0, link_chars = 0;
    int blocks = 0, long_blocks = 0, function_words = 0, words = 0, sentence_ends = 0;

    void add(const Block& block, const TextStats& s) {
        chars += s.chars;
        link_chars += block.link_chars;
        ++blocks;
        long_blocks += s.chars >= 80 && block.link_chars < 0.3 * s.chars;
        function_words += s.words_of[0];
        words += s.words;
        sentence_ends += s.sentence_ends;
    }
    double link_share() const { return chars > 0 ? std::min(1.0, link_chars / chars) : 0; }
    double mean_chars() const { return blocks ? chars / blocks : 0; }
    double function_share() const { return words ? double(function_words) / words : 0; }
};

class Features {
public:
    explicit Features(const Page& page) : page_(page) {
        const TextReader reader(page.head);
        has_body_ = reader.has_body();
        has_description_ = reader.has_description();
        stats_.reserve(page.blocks.size());
        for (const Block& block : page.blocks) stats_.push_back(reader.stats(block.text));
        sum_up();
        find_candidate();
        find_headings();
    }

    // What is seen of every block.
    Table seen() const {
        Table table;
        for (size_t i = 0; i < page_.blocks.size(); ++i) {
            table.begin_row();
            put_own(table, i);
            put_neighbours(table, i);
            put_place(table, i);
            put_containers(table, i);
            put_twins(table, i);
            put_candidate(table, i);
            put_page(table);
            put_marks(table, i);
        }
        return table;
    }

    // What is guessed around every block, given a score from 0 to 1 for each.
    Table guessed(const float* scores) const {
        const size_t n = page_.blocks.size();
        Guesses guesses(page_.elements.size());
        for (size_t i = 0; i < n; ++i) {
            const double chars = stats_[i].chars;
            guesses.add(page_, i, scores[i], chars);
        }
        size_t first = n, last = 0;
        double chosen_chars = 0;
        for (size_t i = 0; i < n; ++i) {
            if (scores[i] < 0.5) continue;
            first = std::min(first, i);
            last = i;
            chosen_chars += stats_[i].chars;
        }
        Table table;
        double before = 0;
        for (size_t i = 0; i < n; ++i) {
            table.begin_row();
            table.put("score", scores[i]);
            for (int offset : {-4, -3, -2, -1, 1, 2, 3, 4}) {
                const long at = static_cast<long>(i) + offset;
                table.put("score", offset, at < 0 || at >= static_cast<long>(n) ? -1.0f : scores[at]);
            }
            for (int window : {3, 8}) put_window(table, scores, i, window);
            int32_t element = page_.blocks[i].element;
            for (int level = 0; level < 5; ++level) {
                table.put("score_up", level, guesses.mean(element));
                if (page_.elements[element].parent >= 0) element = block_parent(element);
            }
            table.put("score_twins", guesses.twins(page_.elements[page_.blocks[i].element].path));
            table.put("score_page", guesses.mean(0));
            table.put("chosen_chars", chosen_chars);
            table.put("chosen_before", chosen_chars > 0 ? before / chosen_chars : 0);
            table.put("blocks_after_first", double(i) - double(first));
            table.put("blocks_before_last", double(last) - double(i));
            table.put("score_heading", last_heading_[i] >= 0 ? scores[last_heading_[i]] : -1.0f);
            put_section(table, scores, i);
            if (scores[i] >= 0.5) before += stats_[i].chars;
        }
        return table;
    }

private:
    const Page& page_;
    std::vector<TextStats> stats_;
    std::vector<Sums> sums_;  // by element
    std::unordered_map<uint64_t, Sums> by_path_, by_tag_path_;
    Sums total_;
    std::vector<double> candidate_score_;
    int32_t candidate_ = 0;
    std::vector<int32_t> last_heading_, next_heading_;
    std::vector<double> chars_before_;
    int32_t first_h1_ = -1;
    int num_articles_ = 0, num_h1_ = 0;
    bool has_body_ = false, has_description_ = false;
    std::unordered_map<uint64_t, int> num_equal_texts_, num_of_path_;
    std::vector<int> order_of_path_;  // by element: how many of equal path come before

    struct Guesses {
        std::vector<double> score, weight;
        std::unordered_map<uint64_t, std::pair<double, double>> by_path;

        explicit Guesses(size_t num_elements) : score(num_elements), weight(num_elements) {}

        void add(const Page& page, size_t block, double guess, double chars) {
            const double w = 10 + std::min(chars, 500.0);
            for (int32_t e = page.blocks[block].element; e >= 0; e = page.elements[e].parent) {
                score[e] += guess * w;
                weight[e] += w;
            }
            auto& twins = by_path[page.elements[page.blocks[block].element].path];
            twins.first += guess * w;
            twins.second += w;
        }
        double mean(int32_t element) const { return weight[element] > 0 ? score[element] / weight[element] : 0; }
        double twins(uint64_t path) const {
            const auto& found = by_path.at(path);
            return found.first / found.second;
        }
    };

    int32_t block_parent(int32_t element) const {
        do element = page_.elements[element].parent;
        while (element > 0 && !page_.elements[element].is_block);
        return std::max(element, 0);
    }

    void sum_up() {
        sums_.resize(page_.elements.size());
        chars_before_.push_back(0);
        for (size_t i = 0; i < page_.blocks.size(); ++i) {
            const Block& block = page_.blocks[i];
            const Element& element = page_.elements[block.element];
            for (int32_t e = block.element; e >= 0; e = page_.elements[e].parent)
                sums_[e].add(block, stats_[i]);
            by_path_[element.path].add(block, stats_[i]);
            by_tag_path_[element.tag_path].add(block, stats_[i]);
            total_.add(block, stats_[i]);
            ++num_equal_texts_[stats_[i].hash];
            chars_before_.push_back(chars_before_.back() + stats_[i].chars);
        }
        for (const Element& element : page_.elements) {
            num_articles_ += element.tag == Tag::ARTICLE;
            num_h1_ += element.tag == Tag::H1;
            order_of_path_.push_back(element.is_block ? num_of_path_[element.path]++ : 0);
        }
    }

    // Readability's idea: paragraphs vote for the elements around them.
    void find_candidate() {
        candidate_score_.assign(page_.elements.size(), 0);
        for (size_t i = 0; i < page_.blocks.size(); ++i) {
            const TextStats& s = stats_[i];
            if (s.chars < 25) continue;
            const double links = std::min(1.0, page_.blocks[i].link_chars / s.chars);
            const double vote = (1 + s.commas + std::min(s.chars / 100, 3.0)) * (1 - links);
            int32_t element = page_.blocks[i].element;
            for (double share : {1.0, 1.0, 0.5, 0.25, 0.125}) {
                candidate_score_[element] += vote * share;
                if (element == 0) break;
                element = block_parent(element);
            }
        }
        for (size_t e = 0; e < candidate_score_.size(); ++e) {
            candidate_score_[e] *= 1 - sums_[e].link_share();
            if (candidate_score_[e] > candidate_score_[candidate_]) candidate_ = static_cast<int32_t>(e);
        }
    }

    void find_headings() {
        const size_t n = page_.blocks.size();
        last_heading_.assign(n, -1);
        next_heading_.assign(n, -1);
        int32_t last = -1;
        for (size_t i = 0; i < n; ++i) {
            last_heading_[i] = last;
            if (page_.blocks[i].kind != Kind::HEADING) continue;
            last = static_cast<int32_t>(i);
            if (first_h1_ < 0 && page_.blocks[i].level == 1) first_h1_ = last;
        }
        int32_t next = -1;
        for (size_t i = n; i-- > 0;) {
            next_heading_[i] = next;
            if (page_.blocks[i].kind == Kind::HEADING) next = static_cast<int32_t>(i);
        }
    }

    double link_share(size_t i) const {
        return stats_[i].chars > 0 ? std::min(1.0, page_.blocks[i].link_chars / stats_[i].chars) : 0;
    }

    void put_own(Table& t, size_t i) const {
        const Block& b = page_.blocks[i];
        const TextStats& s = stats_[i];
        const double chars = std::max(1.0, s.chars), words = std::max(1, s.words);
        t.put("chars", s.chars);
        t.put("words", s.words);
        t.put("word_chars", s.letters / words);
        t.put("link_share", link_share(i));
        t.put("num_links", b.num_links);
        t.put("bold_share", b.bold_chars / chars);
        t.put("digit_share", s.digits / chars);
        t.put("upper_share", s.letters ? double(s.uppers) / s.letters : 0);
        t.put("sentence_ends", s.sentence_ends);
        t.put("comma_share", s.commas / words);
        for (size_t group = 0; group < word_groups().size(); ++group)
            t.put(word_groups()[group].name, s.words_of[group] / words);
        t.put("function_words", s.words_of[0]);
        t.put("equal_texts", num_equal_texts_.at(s.hash));
        t.put("told", !has_body_ ? -1 : s.told_runs / std::max(1.0, double(s.runs)));
        t.put("described", !has_description_ ? -1 : s.described_runs / std::max(1.0, double(s.runs)));
        t.put("sign_share", s.signs / words);
        t.put("ends_sentence", s.ends_sentence);
        t.put("ends_colon", s.ends_colon);
        t.put("ends_open", s.ends_open);
        t.put("starts_upper", s.starts_upper);
        t.put("starts_quote", s.starts_quote);
        t.put("has_copyright", s.has_copyright);
        t.put("has_at", s.has_at);
        t.put("has_year", s.has_year);
        t.put("has_clock", s.has_clock);
        t.put("has_question", s.has_question);
        t.put("title_share", s.title_words / words);
        t.put("title_words", s.title_words);
        t.put("num_breaks", b.num_breaks);
        t.put("num_images", b.num_images);
        t.put("is_hidden", b.is_hidden);
        t.put("in_button", b.in_button);
        t.put("kind", static_cast<int>(b.kind));
        t.put("level", b.level);
        t.put("list_depth", b.list_depth);
        t.put("quote_depth", b.quote_depth);
        t.put("begins_item", b.begins_item);
        t.put("in_table", b.table >= 0);
        t.put("tag", static_cast<int>(page_.elements[b.element].tag));
        t.put("depth", page_.elements[b.element].depth);
    }

    void put_neighbours(Table& t, size_t i) const {
        const long n = static_cast<long>(page_.blocks.size());
        for (int offset : {-3, -2, -1, 1, 2, 3}) {
            const long at = static_cast<long>(i) + offset;
            const bool is_there = at >= 0 && at < n;
            t.put("chars@", offset, is_there ? stats_[at].chars : -1);
            t.put("link_share@", offset, is_there ? link_share(at) : -1);
            if (std::abs(offset) == 3) continue;
            const double words = is_there ? std::max(1, stats_[at].words) : 1;
            t.put("function_share@", offset, is_there ? stats_[at].words_of[0] / words : -1);
            t.put("kind@", offset, is_there ? static_cast<int>(page_.blocks[at].kind) : -1);
            t.put("ends_sentence@", offset, is_there ? stats_[at].ends_sentence : -1);
            t.put("same_path@", offset, is_there && path(at) == path(i));
            t.put("depth@", offset,
                  is_there ? page_.elements[page_.blocks[at].element].depth -
                                 page_.elements[page_.blocks[i].element].depth
                           : 99);
        }
        for (int window : {4, 10}) {
            const long from = std::max(0l, static_cast<long>(i) - window);
            const long to = std::min(n - 1, static_cast<long>(i) + window);
            double links = 0, longs = 0;
            for (long at = from; at <= to; ++at) {
                links += page_.blocks[at].link_chars;
                longs += stats_[at].chars >= 80 && link_share(at) < 0.3;
            }
            const double chars = chars_before_[to + 1] - chars_before_[from];
            t.put("window_chars", window, chars / (to - from + 1));
            t.put("window_links", window, chars > 0 ? std::min(1.0, links / chars) : 0);
            t.put("window_long", window, longs / (to - from + 1));
        }
    }

    uint64_t path(size_t i) const { return page_.elements[page_.blocks[i].element].path; }

    void put_place(Table& t, size_t i) const {
        const double n = static_cast<double>(page_.blocks.size());
        const double total = std::max(1.0, total_.chars);
        t.put("index", i);
        t.put("blocks_left", n - 1 - i);
        t.put("place", i / n);
        t.put("place_chars", chars_before_[i] / total);
        t.put("chars_left", total_.chars - chars_before_[i + 1]);
        const int32_t last = last_heading_[i], next = next_heading_[i];
        t.put("since_heading", last < 0 ? 99 : double(i) - last);
        t.put("chars_since_heading", last < 0 ? -1 : chars_before_[i] - chars_before_[last]);
        t.put("heading_level", last < 0 ? 9 : page_.blocks[last].level);
        t.put("heading_chars", last < 0 ? -1 : stats_[last].chars);
        t.put("heading_title", last < 0 ? -1 : stats_[last].title_words / std::max(1.0, double(stats_[last].words)));
        t.put("to_heading", next < 0 ? 99 : next - double(i));
        t.put("chars_to_heading",
              (next < 0 ? total_.chars : chars_before_[next]) - chars_before_[i + 1]);
        t.put("since_h1", first_h1_ < 0 ? 999 : double(i) - first_h1_);
    }

    void put_containers(Table& t, size_t i) const {
        int32_t element = page_.blocks[i].element;
        const double total = std::max(1.0, total_.chars);
        for (int level = 0; level < 6; ++level) {
            const Sums& s = sums_[element];
            t.put("up_chars", level, s.chars);
            t.put("up_share", level, s.chars / total);
            t.put("up_links", level, s.link_share());
            t.put("up_blocks", level, s.blocks);
            t.put("up_long", level, s.blocks ? double(s.long_blocks) / s.blocks : 0);
            t.put("up_function", level, s.function_share());
            t.put("up_equals", level, num_of_path_.at(page_.elements[element].path));
            t.put("up_order", level, order_of_path_[element]);
            if (level < 4) t.put("up_tag", level, static_cast<int>(page_.elements[element].tag));
            if (element > 0) element = block_parent(element);
        }
    }

    void put_twins(Table& t, size_t i) const {
        const Element& element = page_.elements[page_.blocks[i].element];
        put_set(t, by_path_.at(element.path), "twins_chars", "twins_share", "twins_mean", "twins_links",
                "twins_blocks", "twins_long");
        put_set(t, by_tag_path_.at(element.tag_path), "kin_chars", "kin_share", "kin_mean", "kin_links",
                "kin_blocks", "kin_long");
    }

    void put_set(Table& t, const Sums& s, const char* chars, const char* share, const char* mean,
                 const char* links, const char* blocks, const char* longs) const {
        t.put(chars, s.chars);
        t.put(share, s.chars / std::max(1.0, total_.chars));
        t.put(mean, s.mean_chars());
        t.put(links, s.link_share());
        t.put(blocks, s.blocks);
        t.put(longs, double(s.long_blocks) / s.blocks);
    }

    void put_candidate(Table& t, size_t i) const {
        const int32_t start = page_.blocks[i].element;
        double best = 0;
        for (int32_t e = start; e >= 0; e = page_.elements[e].parent)
            best = std::max(best, candidate_score_[e]);
        const double top = std::max(1e-9, candidate_score_[candidate_]);
        int32_t a = start, b = candidate_;
        int up = 0, down = 0;
        while (a != b) {
            if (page_.elements[a].depth >= page_.elements[b].depth) {
                a = page_.elements[a].parent;
                ++up;
            } else {
                b = page_.elements[b].parent;
                ++down;
            }
        }
        t.put("candidate_score", best / top);
        t.put("candidate_up", up);
        t.put("candidate_down", down);
        t.put("candidate_share", sums_[candidate_].chars / std::max(1.0, total_.chars));
        t.put("candidate_in", sums_[start].chars / std::max(1.0, sums_[candidate_].chars));
    }

    void put_page(Table& t) const {
        t.put("page_blocks", total_.blocks);
        t.put("page_chars", total_.chars);
        t.put("page_links", total_.link_share());
        t.put("page_long", total_.long_blocks);
        t.put("page_mean", total_.mean_chars());
        t.put("page_function", total_.function_share());
        t.put("page_h1", num_h1_);
        t.put("page_articles", num_articles_);
    }

    // How many elements up the nearest one with each mark is.
    void put_marks(Table& t, size_t i) const {
        static constexpr int FAR = 15;
        std::array<int8_t, 64> distance;
        distance.fill(FAR);
        Marks seen = 0;
        int level = 0;
        Marks here = page_.blocks[i].inline_marks;
        for (int32_t e = page_.blocks[i].element; e >= 0 && level < FAR; e = page_.elements[e].parent) {
            here |= page_.elements[e].marks;
            for (Marks fresh = here & ~seen; fresh; fresh &= fresh - 1)
                distance[__builtin_ctzll(fresh)] = static_cast<int8_t>(level);
            seen |= here;
            here = 0;
            ++level;
        }
        for (size_t m = 0; m < num_marks(); ++m) t.put(mark_name(m), distance[m]);
    }

    void put_window(Table& t, const float* scores, size_t i, int window) const {
        const long n = static_cast<long>(page_.blocks.size());
        double before = 0, after = 0, before_weight = 1e-9, after_weight = 1e-9;
        for (long at = std::max(0l, static_cast<long>(i) - window); at < static_cast<long>(i); ++at) {
            const double w = 10 + std::min(stats_[at].chars, 500.0);
            before += scores[at] * w;
            before_weight += w;
        }
        for (long at = i + 1; at <= std::min(n - 1, static_cast<long>(i) + window); ++at) {
            const double w = 10 + std::min(stats_[at].chars, 500.0);
            after += scores[at] * w;
            after_weight += w;
        }
        t.put("score_before", window, before / before_weight);
        t.put("score_after", window, after / after_weight);
    }

    // The score of what stands between a heading and the next one.
    void put_section(Table& t, const float* scores, size_t i) const {
        const bool is_heading = page_.blocks[i].kind == Kind::HEADING;
        const size_t from = is_heading ? i + 1 : last_heading_[i] < 0 ? 0 : last_heading_[i] + 1;
        const size_t to = next_heading_[i] < 0 ? page_.blocks.size() : next_heading_[i];
        double sum = 0, weight = 1e-9;
        for (size_t at = from; at < std::min(to, from + 200); ++at) {
            const double w = 10 + std::min(stats_[at].chars, 500.0);
            sum += scores[at] * w;
            weight += w;
        }
        t.put("score_section", sum / weight);
    }
};

}  // namespace bloomery
