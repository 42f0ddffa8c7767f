// Which language letters are in: n-grams of a text looked up in a table, their mean times a matrix.
//
// A text is read as words: longest runs of letters, each folded to lower case. The features of a
// word are its n-grams of 1 to MAX_ORDER letters, with a blank at either end, and the word itself;
// each is hashed to a row of the table. Single letters count where they are syllables or words.
// Linear in the length of a text, whatever it holds.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

// Compiled for two kinds of processors; neither fuses products and sums, so both answer the same.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_CPU __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_CPU
#endif

namespace bloomery {

constexpr int MAX_ORDER = 4;
constexpr int WIDTH = 32;          // of the table
constexpr int MIN_WHOLE_WORD = 4;  // shorter ones are n-grams already
constexpr int MAX_WORD = 24;       // a longer run of letters is cut
constexpr uint32_t BLANK = ' ';
constexpr size_t BLOCK_ROWS = 256;  // so many rows of int8 never overflow a sum in int16
constexpr uint32_t FIRST_EAST_ASIAN = 0x2E80;  // from here on a sign says as much as some letters
constexpr int EAST_ASIAN_LETTERS = 3;
constexpr int64_t MAX_LETTERS = 20000;  // read of a text that is no document; bounds memory
constexpr int64_t MAX_WITNESSES = 4096;  // letters; more make an answer no surer
constexpr float LEAST_EXPONENT = -14;  // what is less adds nothing to a probability

// How a text is read as a document: in pieces, lines that are cut where they are long.
constexpr int64_t MAX_PIECE_CHARS = 300;
constexpr int64_t READ_WHOLE_CHARS = 500;  // of a longer text each piece is read in part
constexpr int64_t PIECE_LETTERS = 64;
constexpr size_t MAX_PIECES_READ = 16;  // of more, so many are read, evenly spread
constexpr int64_t OWN_LETTERS = 60;     // a piece with fewer has its document's language
constexpr float OWN_PROBABILITY = 0.7f;  // and so has one whose own is less sure

// A text as Python keeps it: code points of one, two or four bytes.
struct Text {
    const void* data;
    int kind;
    int64_t size;

    uint32_t at(int64_t i) const {
        if (kind == 1) return static_cast<const uint8_t*>(data)[i];
        if (kind == 2) return static_cast<const uint16_t*>(data)[i];
        return static_cast<const uint32_t*>(data)[i];
    }
};

// Each code point's letter in lower case; 0 for what is no letter.
struct Letters {
    std::vector<uint32_t> folded;

    uint32_t of(uint32_t code) const { return code < folded.size() ? folded[code] : 0; }
};

inline uint32_t stir(uint32_t hash) {
    hash ^= hash >> 15;
    hash *= 0x2C1B3C6Du;
    return hash ^ (hash >> 13);
}

// Append each feature of a word as a 32-bit number. ``word`` has a blank at either end.
inline void word_features(const uint32_t* word, int size, std::vector<uint32_t>& hashes) {
    uint32_t whole = 0x811C9DC5u;
    for (int i = 0; i < size; ++i) {
        uint32_t hash = 0x9E3779B9u;
        const int end = std::min(size, i + MAX_ORDER);
        for (int j = i; j < end; ++j) {
            hash = (hash ^ word[j]) * 0x85EBCA6Bu;
            hash ^= hash >> 16;
            if (j > i || word[j] >= FIRST_EAST_ASIAN) hashes.push_back(stir(hash));
        }
        whole = (whole ^ word[i]) * 0x01000193u;
        whole ^= whole >> 15;
    }
    const int num_letters = size - 2;
    if (num_letters >= MIN_WHOLE_WORD && num_letters < MAX_WORD)
        hashes.push_back(stir(whole ^ 0x5BD1E995u));
}

// Append the features of text[begin, end), of words until ``max_letters`` were read.
// Returns the number of letters.
inline int64_t features(const Letters& letters, const Text& text, int64_t begin, int64_t end,
                        int64_t max_letters, std::vector<uint32_t>& hashes) {
    uint32_t word[MAX_WORD + 2];
    word[0] = BLANK;
    int size = 1;
    int64_t num_letters = 0;
    for (int64_t i = begin; i <= end; ++i) {
        const uint32_t letter = i < end ? letters.of(text.at(i)) : 0;
        if (letter) {
            word[size++] = letter;
            num_letters += letter < FIRST_EAST_ASIAN ? 1 : EAST_ASIAN_LETTERS;
            if (size <= MAX_WORD) continue;
        }
        if (size > 1) {
            word[size++] = BLANK;
            word_features(word, size, hashes);
            size = 1;
            if (num_letters >= max_letters) break;
        }
    }
    return num_letters;
}

struct Sum {
    std::array<int32_t, WIDTH> values{};
    int64_t num_features = 0;
    int64_t num_letters = 0;

    void add(const Sum& other) {
        for (int d = 0; d < WIDTH; ++d) values[d] += other.values[d];
        num_features += other.num_features;
        num_letters += other.num_letters;
    }
};

// Half a row, and the sum of many. Spelled out, because left to itself GCC adds number by number.
typedef int8_t Half __attribute__((vector_size(WIDTH / 2)));
typedef int16_t HalfSum __attribute__((vector_size(WIDTH)));

FOR_EACH_CPU
inline void add_rows(const int8_t* table, uint32_t mask, const std::vector<uint32_t>& hashes,
                     int32_t* total) {
    for (size_t begin = 0; begin < hashes.size(); begin += BLOCK_ROWS) {
        HalfSum left = {}, right = {};
        const size_t end = std::min(hashes.size(), begin + BLOCK_ROWS);
        for (size_t i = begin; i < end; ++i) {
            const int8_t* row = table + static_cast<size_t>(hashes[i] & mask) * WIDTH;
            Half half;
            std::memcpy(&half, row, sizeof half);
            left += __builtin_convertvector(half, HalfSum);
            std::memcpy(&half, row + WIDTH / 2, sizeof half);
            right += __builtin_convertvector(half, HalfSum);
        }
        for (int d = 0; d < WIDTH / 2; ++d) {
            total[d] += left[d];
            total[WIDTH / 2 + d] += right[d];
        }
    }
}

// out += values × weights, which are WIDTH rows of ``size`` numbers, a multiple of BLOCK_LABELS.
typedef float Lanes __attribute__((vector_size(32)));
constexpr size_t NUM_LANES = sizeof(Lanes) / sizeof(float);
constexpr size_t BLOCK_LABELS = 2 * NUM_LANES;

FOR_EACH_CPU
inline void add_product(const float* values, const float* weights, size_t size, float* out) {
    for (size_t i = 0; i < size; i += BLOCK_LABELS) {
        Lanes left, right, row;
        std::memcpy(&left, out + i, sizeof left);
        std::memcpy(&right, out + i + NUM_LANES, sizeof right);
        for (int d = 0; d < WIDTH; ++d) {
            const float* weight = weights + static_cast<size_t>(d) * size + i;
            std::memcpy(&row, weight, sizeof row);
            left += values[d] * row;
            std::memcpy(&row, weight + NUM_LANES, sizeof row);
            right += values[d] * row;
        }
        std::memcpy(out + i, &left, sizeof left);
        std::memcpy(out + i + NUM_LANES, &right, sizeof right);
    }
}

FOR_EACH_CPU
inline int num_above(const float* scores, size_t size, float limit) {
    int count = 0;
    for (size_t i = 0; i < size; ++i) count += scores[i] > limit;
    return count;
}

struct Answer {
    int label = -1;  // none
    float probability = 0;
};

// A document's languages by their characters, the greatest first, with a probability for each.
struct Reading {
    struct Language {
        int label;
        int64_t num_chars = 0;
        double sureness = 0;  // of its pieces, times their characters
    };
    Answer whole;
    std::vector<Language> languages;

    void add(const Answer& piece, int64_t num_chars) {
        auto found = std::find_if(languages.begin(), languages.end(), [&](const Language& language) {
            return language.label == piece.label;
        });
        if (found == languages.end()) found = languages.insert(found, {piece.label});
        found->num_chars += num_chars;
        found->sureness += static_cast<double>(piece.probability) * static_cast<double>(num_chars);
    }

    void sort() {
        std::sort(languages.begin(), languages.end(), [](const Language& a, const Language& b) {
            return a.num_chars != b.num_chars ? a.num_chars > b.num_chars : a.label < b.label;
        });
    }
};

struct Model {
    Letters letters;
    std::vector<int8_t> table;   // rows of WIDTH
    std::vector<float> weights;  // WIDTH rows, one entry a label, filled up to whole blocks
    std::vector<float> biases;   // filled up with what is never the greatest
    int num_labels = 0;
    uint32_t mask = 0;  // number of the table's rows - 1
    float sharpness = 1, sharpness_growth = 0;

    Sum sum(const Text& text, int64_t begin, int64_t end, int64_t max_letters) const {
        thread_local std::vector<uint32_t> hashes;
        hashes.clear();
        Sum sum;
        sum.num_letters = features(letters, text, begin, end, max_letters, hashes);
        sum.num_features = static_cast<int64_t>(hashes.size());
        add_rows(table.data(), mask, hashes, sum.values.data());
        return sum;
    }

    Sum sum(const Text& text) const { return sum(text, 0, text.size, MAX_LETTERS); }

    // The score of each label; what is beyond num_labels only fills a block.
    std::vector<float> logits(const Sum& sum) const {
        std::vector<float> out = biases;
        std::array<float, WIDTH> mean{};
        for (int d = 0; d < WIDTH && sum.num_features; ++d)
            mean[d] = static_cast<float>(sum.values[d]) / static_cast<float>(sum.num_features);
        add_product(mean.data(), weights.data(), out.size(), out.data());
        return out;
    }

    // The most probable label; a longer text is a surer witness.
    Answer decide(const Sum& sum) const {
        return sum.num_letters ? decide(logits(sum), sum.num_letters) : Answer{};
    }

    Answer decide(const std::vector<float>& scores, int64_t num_letters) const {
        const auto best = std::max_element(scores.begin(), scores.end());
        const auto witnesses = static_cast<float>(std::min(num_letters, MAX_WITNESSES));
        const float scale = sharpness + sharpness_growth * std::log2(witnesses);
        float total = 0;
        for (const float score : scores) {
            const float exponent = (score - *best) * scale;
            if (exponent > LEAST_EXPONENT) total += std::exp(exponent);
        }
        return {static_cast<int>(best - scores.begin()), 1 / total};
    }

    // Read a document: its pieces, or of many, some that are evenly spread.
    Reading read(const Text& text) const {
        Sum total;
        std::vector<std::pair<Sum, int64_t>> pieces;  // with their characters
        const std::vector<int64_t> ends = piece_ends(text);
        const size_t step = (ends.size() + MAX_PIECES_READ - 1) / MAX_PIECES_READ;
        const int64_t max_letters = text.size > READ_WHOLE_CHARS ? PIECE_LETTERS : INT64_MAX;
        for (size_t i = 0; i < ends.size(); i += step) {
            const int64_t begin = i ? ends[i - 1] : 0;
            const Sum piece = sum(text, begin, ends[i], max_letters);
            if (!piece.num_letters) continue;
            total.add(piece);
            pieces.emplace_back(piece, ends[i] - begin);
        }
        Reading reading;
        reading.whole = decide(total);
        for (const auto& [piece, num_chars] : pieces)
            reading.add(pieces.size() > 1 ? of_piece(piece, reading.whole) : reading.whole,
                        num_chars);
        reading.sort();
        return reading;
    }

private:
    // A piece's language where it is surely another than that of the whole.
    Answer of_piece(const Sum& piece, const Answer& whole) const {
        if (piece.num_letters < OWN_LETTERS) return whole;
        const std::vector<float> scores = logits(piece);
        if (!num_above(scores.data(), scores.size(), scores[whole.label])) return whole;
        const Answer own = decide(scores, piece.num_letters);
        return own.probability < OWN_PROBABILITY ? whole : own;
    }

    static std::vector<int64_t> piece_ends(const Text& text) {
        std::vector<int64_t> ends;
        int64_t begin = 0;
        for (int64_t i = 0; i < text.size; ++i) {
            if (text.at(i) != '\n' && i + 1 - begin < MAX_PIECE_CHARS) continue;
            ends.push_back(begin = i + 1);
        }
        if (begin < text.size) ends.push_back(text.size);
        return ends;
    }
};

}  // namespace bloomery
