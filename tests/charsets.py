"""Texts in the charsets they were written in before UTF-8: what charset tests are made of."""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Article 1 of the Universal Declaration of Human Rights, by ISO 639-3.
ARTICLE_1 = {
    "deu": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit "
    "Vernunft und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "fra": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont "
    "doués de raison et de conscience et doivent agir les uns envers les autres dans un esprit de "
    "fraternité.",
    "spa": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como "
    "están de razón y conciencia, deben comportarse fraternalmente los unos con los otros. "
    "¿Qué más dirá mañana el niño?",
    "por": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de "
    "razão e de consciência, devem agir uns para com os outros em espírito de fraternidade.",
    "pol": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są "
    "oni obdarzeni rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "ces": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni "
    "rozumem a svědomím a mají spolu jednat v duchu bratrství.",
    "hun": "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek, "
    "ésszel és lelkiismerettel bírván, egymással szemben testvéri szellemben kell hogy "
    "viseltessenek.",
    "lit": "Visi žmonės gimsta laisvi ir lygūs savo orumu ir teisėmis. Jiems suteiktas protas ir "
    "sąžinė ir jie turi elgtis vienas kito atžvilgiu kaip broliai.",
    "tur": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana "
    "sahiptirler ve birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler.",
    "rus": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены "
    "разумом и совестью и должны поступать в отношении друг друга в духе братства.",
    "ukr": "Всі люди народжуються вільними і рівними у своїй гідності та правах. Вони наділені "
    "розумом і совістю і повинні діяти у відношенні один до одного в дусі братерства.",
    "bul": "Всички хора се раждат свободни и равни по достойнство и права. Те са надарени с разум "
    "и съвест и следва да се отнасят помежду си в дух на братство.",
    "ell": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. "
    "Είναι προικισμένοι με λογική και συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ "
    "τους με πνεύμα αδελφοσύνης.",
    "heb": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, "
    "לפיכך חובה עליהם לנהוג איש ברעהו ברוח של אחווה.",
    "ara": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق، وقد وهبوا عقلا وضميرا وعليهم أن "
    "يعامل بعضهم بعضا بروح الإخاء.",
    "tha": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม "
    "และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
    "vie": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền. Mọi con "
    "người đều được tạo hóa ban cho lý trí và lương tâm và cần phải đối xử với nhau trong "
    "tình bằng hữu.",
    "jpn": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"
    "人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
    "cmn": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "yue": "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神相對待。",
    "kor": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 "
    "이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.",
}

# Label, Python's codec, and the languages (UDHR and Tatoeba codes) that were published in it.
WESTERN = (
    "afr als arn ast bre cat ceb cym dan deu eng epo est eus fao fin fra gla gle glg gsw"
    " hat_popular haw ilo ind isl ita lat ltz mri nds nld nno nob oci por por_BR por_PT roh spa"
    " sqi swe swh tah tgl wln zsm"
)
CENTRAL = "bos bos_latn ces dsb hrv hsb hun pol ron ron_1993 slk slv sqi srp_latn"
CYRILLIC = "bel bul mkd rus srp srp_cyrl tat ukr"
PUBLISHED_IN = [
    ("windows-1252", "cp1252", WESTERN),
    ("iso-8859-15", "iso8859-15", WESTERN),
    ("windows-1250", "cp1250", CENTRAL),
    ("iso-8859-2", "iso8859-2", CENTRAL),
    ("windows-1251", "cp1251", CYRILLIC),
    ("iso-8859-5", "iso8859-5", "bel bul mkd rus srp_cyrl"),
    ("koi8-r", "koi8-r", "bul rus"),
    ("koi8-u", "koi8-u", "rus ukr"),
    ("ibm866", "cp866", "bel bul rus"),
    ("windows-1253", "cp1253", "ell"),
    ("iso-8859-7", "iso8859-7", "ell"),
    ("windows-1254", "cp1254", "azj_latn tur"),
    ("windows-1255", "cp1255", "heb yid"),
    ("iso-8859-8-i", "iso8859-8", "heb"),
    ("windows-1256", "cp1256", "ara arq arz pes pes_1 urd urd_2"),
    ("iso-8859-6", "iso8859-6", "ara arz"),
    ("windows-1257", "cp1257", "041 est lit lvs"),
    ("iso-8859-13", "iso8859-13", "041 est lit lvs"),
    ("windows-1258", "cp1258", "vie"),
    ("windows-874", "cp874", "tha"),
    ("gb2312", "gb18030", "cmn cmn_hans_guiyang cmn_hans_harbin cmn_hans_nanjing wuu"),
    ("big5", "big5hkscs", "cmn_hant yue"),
    ("euc-jp", "euc_jp", "jpn"),
    ("shift_jis", "cp932", "jpn"),
    ("iso-2022-jp", "iso2022_jp", "jpn"),
    ("euc-kr", "cp949", "kor"),
]
UTF16 = [
    ("utf-16", "utf-16-le", "ara cmn deu eng fra jpn kor rus tha"),
    ("utf-16be", "utf-16-be", "ara cmn deu eng fra jpn kor rus tha"),
]
# Browsers do not guess these, and so do we only now and then.
DECLARED_ONLY = [
    ("macintosh", "mac-roman", WESTERN),
    ("x-mac-cyrillic", "mac-cyrillic", "bul rus"),
]
# What servers and templates say when they are wrong.
LIES = ("utf-8", "windows-1252", "iso-8859-1", "windows-1251", "gb2312", "shift_jis", "euc-kr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A text, and its bytes in a charset in which such texts were published."""

    language: str
    label: str  # the charset's, as the standard writes it
    codec: str
    text: str
    data: bytes


def samples(
    texts: Iterable[tuple[str, str]], charsets: Iterable[tuple[str, str, str]] = PUBLISHED_IN
) -> Iterator[Sample]:
    """Encode each (language, text) in its charsets; lines that it cannot hold are left out."""
    texts = list(texts)
    for label, codec, languages in charsets:
        for language, text in texts:
            if language not in languages.split():
                continue
            kept = "\n".join(line for line in text.split("\n") if _holds(codec, line))
            data = encode(kept, codec)
            if codec.startswith(("iso2022", "utf-16")) or not data.isascii():
                yield Sample(language=language, label=label, codec=codec, text=kept, data=data)


def encode(text: str, codec: str) -> bytes:
    """Encode; for windows-1258 tone marks leave their letters, as Vietnamese editors did."""
    return (_loose_tones(text) if codec == "cp1258" else text).encode(codec)


def _holds(codec: str, line: str) -> bool:
    try:
        return unicodedata.normalize("NFC", encode(line, codec).decode(codec)) == line
    except UnicodeEncodeError:
        return False


def _loose_tones(text: str) -> str:
    def loose(char: str) -> str:
        parts = unicodedata.normalize("NFD", char)
        tone = next((mark for mark in parts if mark in "\u0300\u0301\u0303\u0309\u0323"), "")
        return unicodedata.normalize("NFC", parts.replace(tone, "")) + tone if tone else char

    return "".join(map(loose, text))
