// Words that tell what a block is for, in the languages most pages are in.
//
// In: a word in lower case. Out: the groups it belongs to. Like the marks of elements, no word speaks
// for or against a block by itself: what to make of them is learned.
#pragma once

#include <array>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace bloomery {

struct WordGroup {
    const char* name;
    std::vector<const char*> words;
};

inline const std::vector<WordGroup>& word_groups() {
    static const std::vector<WordGroup> groups = {
        // Words that hold sentences together: running text is full of them and menus are not
        // (jusText, Pomikálek 2011).
        {"function",
         {"the", "of", "and", "to", "a", "in", "is", "that", "for", "it", "was", "on", "with", "as",
          "be", "by", "he", "she", "this", "are", "or", "his", "her", "from", "at", "which", "but",
          "have", "an", "had", "they", "you", "were", "there", "been", "their", "has", "would", "not",
          "we", "i", "who", "what", "if", "will", "can", "when", "so", "said", "more", "about",
          "der", "die", "das", "und", "den", "von", "zu", "mit", "sich", "des", "auf", "für", "ist",
          "im", "dem", "nicht", "ein", "eine", "auch", "es", "werden", "aus", "hat", "dass", "sie",
          "nach", "wird", "bei", "einer", "um", "am", "sind", "noch", "wie", "einem", "über", "zum",
          "war", "haben", "nur", "oder", "aber", "vor", "zur", "bis", "mehr", "durch", "man", "sein",
          "wurde", "wenn", "kann", "ich", "wir", "als", "er",
          "le", "la", "les", "de", "du", "un", "une", "et", "à", "est", "que", "qui", "dans", "pour",
          "pas", "sur", "plus", "par", "au", "aux", "ce", "cette", "avec", "il", "elle", "ne", "se",
          "sont", "été", "son", "sa", "ses", "mais", "comme", "ou", "nous", "vous",
          "el", "los", "las", "y", "en", "del", "al", "una", "por", "con", "para", "su", "como", "lo",
          "más", "pero", "sus", "fue", "ha", "este", "esta", "no",
          "o", "os", "e", "do", "da", "dos", "em", "uma", "não", "na", "mais", "foi", "ao",
          "di", "che", "è", "per", "non", "della", "dei", "gli", "sono", "alla", "si",
          "van", "het", "een", "dat", "niet", "op", "te", "zijn", "voor", "met", "ook", "aan",
          "och", "att", "det", "som", "på", "är", "av", "för", "inte", "og", "til", "ikke", "med",
          "w", "z", "się", "nie", "że", "jest", "oraz", "przez", "ale", "jak", "je", "v", "ve", "pro",
          "и", "в", "не", "на", "что", "с", "по", "как", "это", "из", "к", "за", "от", "для", "он",
          "но", "его", "у", "же", "бы", "так", "до", "та", "що", "з", "є",
          "και", "το", "της", "την", "του", "να", "με", "που", "από", "για", "οι", "στην",
          "bir", "bu", "için", "ile", "olarak", "çok", "daha", "yang", "dan", "untuk", "ini", "dengan",
          "itu", "tidak", "của", "và", "là", "có", "cho", "không",
          "في", "من", "على", "إلى", "أن", "عن", "مع", "که", "از", "به", "را", "با", "है", "के", "में",
          "की", "और", "का", "से", "को"}},
        {"share_words",
         {"share", "tweet", "facebook", "twitter", "instagram", "whatsapp", "pinterest", "linkedin",
          "follow", "like", "folgen", "folge", "teilen", "gefällt", "partager", "compartir", "youtube",
          "telegram", "print", "drucken", "email", "e-mail", "mail", "google", "rss", "feed", "reddit",
          "tumblr", "xing", "flipboard", "imprimer", "seguir", "condividi"}},
        {"more_words",
         {"read", "more", "related", "see", "also", "click", "here", "continue", "weiterlesen", "mehr",
          "lesen", "hier", "klicken", "lire", "suite", "leer", "watch", "full", "story", "stories",
          "next", "previous", "weiter", "zurück", "latest", "popular", "trending", "recommended",
          "miss", "show", "view", "artikel", "articles", "posts", "top", "back", "siehe", "weitere",
          "ähnliche", "passend", "interessieren", "download", "voir", "aussi", "ver", "leia"}},
        {"account_words",
         {"subscribe", "subscription", "newsletter", "sign", "signup", "login", "log", "register",
          "account", "abonnieren", "abo", "anmelden", "registrieren", "inscription", "suscríbete",
          "free", "trial", "inbox", "join", "password", "passwort", "username", "einloggen", "member",
          "donate", "spenden", "search", "suche", "suchen", "menu", "menü", "navigation", "javascript",
          "browser", "app", "required", "erforderlich"}},
        {"legal_words",
         {"copyright", "rights", "reserved", "terms", "privacy", "policy", "cookie", "cookies",
          "impressum", "datenschutz", "agb", "kontakt", "contact", "disclaimer", "legal", "mentions",
          "imprint", "nutzungsbedingungen", "conditions", "licensed", "vorbehalten", "sitemap",
          "powered", "wordpress", "über", "about", "uns"}},
        {"caption_words",
         {"photo", "photos", "photograph", "image", "images", "picture", "pictured", "credit", "foto",
          "fotos", "bild", "bilder", "quelle", "source", "getty", "reuters", "ap", "afp", "dpa",
          "file", "courtesy", "caption", "grafik", "video", "videos", "illustration", "gallery",
          "slideshow", "screenshot", "shutterstock", "imago", "pixabay", "crédit", "left", "right"}},
        {"comment_words",
         {"comment", "comments", "reply", "replies", "kommentar", "kommentare", "antworten", "antwort",
          "says", "schreibt", "sagt", "posted", "responses", "discuss", "commentaires", "comentarios",
          "respuestas", "trackback", "trackbacks", "pingback", "permalink", "log", "abbrechen",
          "moderation", "kommentieren", "kommentiert", "report", "guest", "anonymous", "anonym"}},
        {"date_words",
         {"january", "february", "march", "april", "may", "june", "july", "august", "september",
          "october", "november", "december", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep",
          "sept", "oct", "nov", "dec", "monday", "tuesday", "wednesday", "thursday", "friday",
          "saturday", "sunday", "mon", "tue", "wed", "thu", "fri", "sat", "sun", "januar", "februar",
          "märz", "mai", "juni", "juli", "oktober", "dezember", "montag", "dienstag", "mittwoch",
          "donnerstag", "freitag", "samstag", "sonntag", "uhr", "ago", "updated", "published",
          "veröffentlicht", "erstellt", "aktualisiert", "min", "minutes", "hours", "janvier",
          "février", "mars", "avril", "juin", "juillet", "août", "septembre", "octobre", "novembre",
          "décembre", "enero", "febrero", "marzo", "mayo", "junio", "julio", "agosto", "octubre"}},
        {"tag_words",
         {"tags", "tagged", "tag", "categories", "category", "filed", "under", "topics", "topic",
          "schlagwörter", "schlagworte", "kategorie", "kategorien", "labels", "themen", "thema",
          "stichworte", "stichwörter", "rubrik", "keywords", "catégories", "etiquetas", "mots-clés"}},
        {"author_words",
         {"by", "author", "autor", "autorin", "von", "writer", "contributor", "reporter",
          "correspondent", "editor", "staff", "redaktion", "redakteur", "biography", "contributed",
          "written", "geschrieben", "par", "por", "blogger", "journalist", "founder", "professor"}},
        {"shop_words",
         {"advertisement", "anzeige", "werbung", "sponsored", "ad", "ads", "publicité", "publicidad",
          "promo", "deal", "deals", "offer", "angebot", "angebote", "shop", "buy", "kaufen", "price",
          "preis", "cart", "warenkorb", "bestellen", "order", "versand", "mwst", "amazon", "rabatt",
          "lieferzeit", "produkt", "produkte", "product", "products"}},
    };
    return groups;
}

inline uint32_t word_marks(std::string_view word) {
    static const std::unordered_map<std::string_view, uint32_t> marks = [] {
        std::unordered_map<std::string_view, uint32_t> result;
        const auto& groups = word_groups();
        for (size_t group = 0; group < groups.size(); ++group)
            for (std::string_view known : groups[group].words) result[known] |= 1u << group;
        return result;
    }();
    const auto found = marks.find(word);
    return found == marks.end() ? 0 : found->second;
}

}  // namespace bloomery
