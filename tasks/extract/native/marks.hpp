// Marks: what authors call the parts of their pages.
//
// In: the class, id, role and itemprop of an element. Out: a bit for each group of words that occurs.
// The words are those of many sites and languages; which of them speak for or against main text is
// not said here but learned.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "markup.hpp"
#include "page.hpp"

namespace bloomery {

struct MarkGroup {
    const char* name;
    std::vector<const char*> words;  // "=word": only between two borders of words
};

inline const std::vector<MarkGroup>& mark_groups() {
    static const std::vector<MarkGroup> groups = {
        {"comment", {"comment", "disqus", "respond", "=reply", "=replies", "kommentar", "discussion",
                     "livefyre", "commentaire", "comentario", "guestbook"}},
        {"footer", {"footer", "=foot", "colophon", "=fuss", "contentinfo", "bottom"}},
        {"nav", {"nav", "menu", "breadcrumb", "paginat", "pager", "=toc", "=skip", "=crumbs",
                 "jumpto", "prevnext", "=next", "=prev", "=previous"}},
        {"sidebar", {"sidebar", "aside", "=rail", "secondary", "=side", "rightcol", "leftcol",
                     "right-col", "left-col", "right_col", "left_col", "marginal", "complementary"}},
        {"widget", {"widget", "=block", "=module", "=box", "portlet", "=panel"}},
        {"share", {"share", "sharing", "social", "facebook", "twitter", "addthis", "whatsapp",
                   "linkedin", "pinterest", "=like", "=follow", "teilen", "bookmark"}},
        {"related", {"related", "recommend", "=more", "similar", "=also", "popular", "trending",
                     "teaser", "mostread", "most-read", "outbrain", "taboola", "verwandt", "empfehl",
                     "readmore", "read-more", "morelink", "weitere", "latest", "recent"}},
        {"ad", {"=ad", "=ads", "advert", "sponsor", "promo", "banner", "adsense", "adslot", "=dfp",
                "werbung", "anzeige", "affiliate", "marketing", "campaign"}},
        {"consent", {"cookie", "consent", "gdpr", "privacy", "datenschutz"}},
        {"form", {"subscri", "newsletter", "signup", "sign-up", "login", "register", "registration",
                  "=form", "search", "paywall", "suche", "=input", "donat"}},
        {"author", {"author", "byline", "writer", "=autor", "contributor", "=bio", "avatar", "=by",
                    "vcard", "=profile"}},
        {"date", {"date", "=time", "timestamp", "publish", "posted", "datum", "=meta", "postmeta",
                  "post-meta", "entry-meta", "=info", "infos", "submitted", "=views"}},
        {"tags", {"=tag", "=tags", "taglist", "categor", "keyword", "=label", "=labels", "=topic",
                  "=topics", "taxonomy", "tagcloud", "rubrik"}},
        {"caption", {"caption", "credit", "photo", "image", "gallery", "figure", "slideshow", "=media",
                     "video", "=bild", "carousel", "slider", "=player", "thumbnail", "=audio"}},
        {"article", {"article", "=story", "entry", "=post", "=blog", "beitrag", "artikel", "articulo",
                     "=single", "hentry", "blogpost", "newstext"}},
        {"content", {"content", "inhalt", "contenido", "contenu", "=main", "maincol", "=page",
                     "primary", "=center", "middle"}},
        {"body", {"=body", "=text", "articlebody", "article-text", "article_text", "articletext",
                  "bodytext", "storybody", "fliesstext", "richtext", "rich-text", "=prose",
                  "markdown", "=copy", "wysiwyg", "=paragraph", "postbody", "fulltext", "maintext"}},
        {"title", {"title", "headline", "heading", "titel", "titre", "titulo", "=subject"}},
        {"header", {"header", "=head", "masthead", "topbar", "=top", "logo", "brand"}},
        {"summary", {"summary", "excerpt", "=lead", "=lede", "=intro", "standfirst", "subtitle",
                     "=deck", "=dek", "abstract", "description", "kicker", "vorspann", "subline"}},
        {"hidden", {"hidden", "=hide", "invisible", "sr-only", "screen-reader", "visually", "modal",
                    "popup", "overlay", "tooltip", "dialog", "noprint", "offscreen", "collapse",
                    "dropdown"}},
        {"list", {"=list", "=index", "archive", "=grid", "=cards", "=card", "=items", "=item", "=feed",
                  "listing", "=results", "=links", "linklist"}},
        {"product", {"product", "price", "=shop", "=cart", "warenkorb", "=buy", "rating", "review"}},
        {"forum", {"forum", "thread", "message", "=posting", "vbulletin", "phpbb", "=answer",
                   "question", "=signature"}},
        {"legal", {"copyright", "legal", "disclaimer", "impressum", "imprint", "licen", "=terms"}},
        {"note", {"footnote", "=references", "reflist", "reference", "citation", "=notes", "=note",
                  "editsection", "fussnote"}},
        {"alert", {"alert", "=notice", "warning", "error", "=breaking", "ticker", "=live"}},
    };
    return groups;
}

// Element kinds that share the mask with the groups of words.
enum TagMark {
    IN_ARTICLE, IN_MAIN, IN_SECTION, IN_ASIDE, IN_NAV, IN_FOOTER, IN_HEADER, IN_FORM, IN_LIST,
    IN_TABLE, IN_CELL, IN_QUOTE, IN_FIGURE, IN_P, IN_LINK, IN_HEADING, IN_DL, IN_DIV, IN_PRE,
    NUM_TAG_MARKS,
};

inline const std::array<const char*, NUM_TAG_MARKS>& tag_mark_names() {
    static const std::array<const char*, NUM_TAG_MARKS> names = {
        "<article>", "<main>", "<section>", "<aside>", "<nav>", "<footer>", "<header>", "<form>",
        "<list>", "<table>", "<cell>", "<quote>", "<figure>", "<p>", "<a>", "<heading>", "<dl>",
        "<div>", "<pre>"};
    return names;
}

// Of the mark that is this bit.
inline const char* mark_name(size_t bit) {
    const size_t num_groups = mark_groups().size();
    return bit < num_groups ? mark_groups()[bit].name : tag_mark_names()[bit - num_groups];
}

inline size_t num_marks() { return mark_groups().size() + NUM_TAG_MARKS; }

// A trie of the groups' words; one walk from each letter of a name, which ends after a few steps.
class MarkFinder {
public:
    explicit MarkFinder(const std::vector<MarkGroup>& groups) : nodes_(1) {
        for (size_t group = 0; group < groups.size(); ++group)
            for (std::string_view word : groups[group].words) add(word, Marks{1} << group);
    }

    static const MarkFinder& shared() {
        static const MarkFinder instance(mark_groups());
        return instance;
    }

    Marks find(std::string_view names) const {
        Marks found = 0;
        for (size_t start = 0; start < names.size(); ++start) {
            int32_t node = 0;
            for (size_t at = start; at < names.size() && (node = step(node, names[at])) >= 0; ++at) {
                const Node& here = nodes_[node];
                found |= here.anywhere;
                if (here.between && is_border(names, start) && is_border(names, at + 1))
                    found |= here.between;
            }
        }
        return found;
    }

private:
    struct Node {
        std::array<int32_t, 27> next;
        Marks anywhere = 0, between = 0;
        Node() { next.fill(-1); }
    };
    std::vector<Node> nodes_;

    void add(std::string_view word, Marks mark) {
        const bool between = word.front() == '=';
        if (between) word.remove_prefix(1);
        int32_t node = 0;
        for (char c : word) {
            const int letter = index(c);
            if (nodes_[node].next[letter] < 0) {
                nodes_[node].next[letter] = static_cast<int32_t>(nodes_.size());
                nodes_.emplace_back();
            }
            node = nodes_[node].next[letter];
        }
        (between ? nodes_[node].between : nodes_[node].anywhere) |= mark;
    }

    static int index(char c) {
        if (is_letter(c)) return (c | 32) - 'a';
        return c == '-' || c == '_' ? 26 : -1;
    }

    int32_t step(int32_t node, char c) const {
        const int letter = index(c);
        return letter < 0 ? -1 : nodes_[node].next[letter];
    }

    // Between "main" and "Content" in mainContent, too.
    static bool is_border(std::string_view names, size_t at) {
        if (at == 0 || at >= names.size()) return true;
        const char before = names[at - 1], after = names[at];
        if (!is_letter(before) || !is_letter(after)) return true;
        return before >= 'a' && after <= 'Z';
    }
};

inline Marks tag_mark(TagMark mark) { return Marks{1} << (mark_groups().size() + mark); }

inline Marks marks_of(Tag tag, const Token& token) {
    Marks marks = 0;
    for (Attribute a : {Attribute::CLASS, Attribute::ID, Attribute::ITEMPROP, Attribute::ROLE})
        if (token.has(a)) marks |= MarkFinder::shared().find(token.raw(a).substr(0, 400));
    switch (tag) {
        case Tag::ARTICLE: marks |= tag_mark(IN_ARTICLE); break;
        case Tag::MAIN: marks |= tag_mark(IN_MAIN); break;
        case Tag::SECTION: marks |= tag_mark(IN_SECTION); break;
        case Tag::ASIDE: marks |= tag_mark(IN_ASIDE); break;
        case Tag::NAV: marks |= tag_mark(IN_NAV); break;
        case Tag::FOOTER: marks |= tag_mark(IN_FOOTER); break;
        case Tag::HEADER: marks |= tag_mark(IN_HEADER); break;
        case Tag::FORM: marks |= tag_mark(IN_FORM); break;
        case Tag::UL: case Tag::OL: marks |= tag_mark(IN_LIST); break;
        case Tag::TABLE: marks |= tag_mark(IN_TABLE); break;
        case Tag::TD: case Tag::TH: marks |= tag_mark(IN_CELL); break;
        case Tag::BLOCKQUOTE: marks |= tag_mark(IN_QUOTE); break;
        case Tag::FIGURE: case Tag::FIGCAPTION: marks |= tag_mark(IN_FIGURE); break;
        case Tag::P: marks |= tag_mark(IN_P); break;
        case Tag::A: marks |= tag_mark(IN_LINK); break;
        case Tag::DL: marks |= tag_mark(IN_DL); break;
        case Tag::DIV: marks |= tag_mark(IN_DIV); break;
        case Tag::PRE: marks |= tag_mark(IN_PRE); break;
        default: if (is_heading(tag)) marks |= tag_mark(IN_HEADING);
    }
    return marks;
}

}  // namespace bloomery
