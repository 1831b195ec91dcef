"""Varied lines of text for make_tokens.py, the same on every run. All made up here."""

import random
import unicodedata

SENTENCES = """The weather was fine today, so we walked to the river and back again.
Don't worry: it's only $3.50 (plus 20% tax), isn't it?
An unbelievably long antidisestablishmentarianism-like word; e-mail me@example.org or see https://example.org/a_b?c=d#e!
INT8 quantization of Transformers: 22.7M parameters, 384 dimensions, v2.0-rc1.
Heute ist schönes Wetter, und die Straße führt über Größe und Maß zu den Äpfeln.
Où est passée la forêt ? Le garçon naïf a mangé l'œuf, çà et là, à Noël.
¿Dónde está el niño? ¡Mañana comerá piñas en el jardín!
A manhã está fria; não há pão nem maçãs, só café à mesa.
Perché è così? Più tardi andrò in città, cioè lì.
Dzisiaj świeci słońce, a żółta łódź płynie ku źródłu; ćma śpi.
Příliš žluťoučký kůň úpěl, řekl děda a šel ťapkat.
Tổng cộng có mười người ở nhà; trời đẹp và nước ấm lắm.
İstanbul'da IŞIK ılık, ırmak İNCE; çiğ köfte ağaç gölgesi.
Šiandien gražus oras, ąžuolas ūžia, ėjo šį rytą.
Ma tänavaäär on õues öösel ülihästi näha.
Í dag er gott veður, þótt ísinn sé þykkur og ærin fræg.
Сегодня хорошая погода, и ёжик идёт в лес; объём съел всё.
Сьогодні гарна погода, їжак їсть ґедзя біля під'їзду.
Днес времето е хубаво, а Ѝ и й са букви.
Σήμερα ο καιρός είναι καλός· ΌΛΟΣ Ο ΚΌΣΜΟΣ ΠΆΕΙ ΣΤΟΥΣ ΔΡΌΜΟΥΣ; ἄνθρωπος ᾧ ᾳ.
היום מזג האוויר יפה, וְהַיֶּלֶד הוֹלֵךְ לַיָּם – "שלום"!
الطقس جميل اليوم، وَذَهَبَ الوَلَدُ إِلَى البَحْرِ؛ أليس كذلك؟ ١٢٣
امروز هوا خوب است، می‌روم به خانه‌ی دوست؛ کتاب ۴۵۶.
आज मौसम अच्छा है, क्या हम नदी तक चलें? हाँ, ज़रूर। क़िला पढ़ो १२३॥
আজ আবহাওয়া ভালো, আমরা নদীর ধারে যাব। ড়, ঢ়, য়।
இன்று வானிலை நன்றாக உள்ளது, நாங்கள் ஆற்றுக்கு போகிறோம்.
ఈ రోజు వాతావరణం బాగుంది, మేము నదికి వెళ్తాము.
ഇന്ന് നല്ല കാലാവസ്ഥയാണ്, ഞങ്ങൾ പുഴയിലേക്ക് പോകുന്നു.
วันนี้อากาศดี เราเดินไปที่แม่น้ำด้วยกัน ๑๒๓ ฯลฯ
ມື້ນີ້ອາກາດດີ ພວກເຮົາໄປແມ່ນ້ຳ
ယနေ့ ရာသီဥတု ကောင်းသည်။ မြစ်သို့ သွားကြမည်။
ថ្ងៃនេះអាកាសធាតុល្អ យើងដើរទៅទន្លេ។
དེ་རིང་གནམ་གཤིས་བཟང་པོ་འདུག །
დღეს კარგი ამინდია, წავიდეთ მდინარეზე. ᲗᲑᲘᲚᲘᲡᲘ
Այսօր եղանակը լավ է, գնանք գետը։ ԵՐԵՎԱՆ եւ և
ዛሬ አየሩ ጥሩ ነው፣ ወደ ወንዝ እንሂድ።
ᎣᏏᏲ ᏙᎯᏧ ꮳꮃꭹ
今天天气很好，我们一起走到河边，再走回来。「你好」！
今日は天気がいいので、川まで歩きました。ガギグゲゴ、ぱぴぷぺぽ。ﾊﾟﾋﾟ ㍿
오늘은 날씨가 좋아서 강까지 걸었습니다. 값이 얼마예요?
𝒜 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 line: ﬁ ﬂ ﬀ ½ ² ³ № ™ Ⅷ ℃ Å K Ω ①②③ ㎏
👨‍👩‍👧‍👦 family, 👩🏽‍🚀 astronaut, 🏳️‍🌈 flag, 🇩🇪🇯🇵, 1️⃣ keycap, ❤️ heart, 🫠 🫡 🥹
“Quotes” – dashes — and… ‘others’ «guillemets» ‹single› „low“ •bullets· †‡ ¶ § © ® ¢ £ ¥ €
x² + y² ≤ z² ∑∞∫√ ≠ ≈ → ⇒ ∀∃ α≥β 10⁻⁹ µm ±5° ×÷ ¬ ¦ ¨ ¯ ´ ¸ ` ^ ~ |""".split("\n")

BLOCKS = [tuple(int(c, 16) for c in block.split("-")) for block in """
20-7E 80-FF 100-24F 250-2FF 300-36F 370-3FF 400-52F 530-58F 590-5FF 600-6FF 700-74F 780-7BF
7C0-7FF 800-8FF 900-97F 980-9FF A00-AFF B00-BFF C00-CFF D00-DFF E00-EFF F00-FFF 1000-109F
10A0-10FF 1100-11FF 1200-139F 13A0-13FF 1400-169F 16A0-17FF 1800-18AF 1900-1AFF 1B00-1CFF
1D00-1DFF 1E00-1EFF 1F00-1FFF 2000-206F 2070-20CF 20D0-20FF 2100-214F 2150-23FF 2400-25FF
2600-27BF 27C0-2BFF 2C00-2DFF 2E00-2E7F 2E80-2FFF 3000-303F 3040-30FF 3100-33FF 3400-4DBF
4E00-9FFF A000-A4CF A4D0-A6FF A700-A8FF A900-ABFF AC00-D7FF E000-F8FF F900-FAFF FB00-FDFF
FE00-FEFF FF00-FFFF 10000-107FF 10800-10FFF 11000-11FFF 12000-143FF 16800-18CFF 1B000-1BCFF
1D000-1D7FF 1E000-1EFFF 1F000-1FAFF 20000-2A6DF 2A700-2EBEF 2F800-2FA1F 30000-3134F E0000-E01EF
F0000-10FFFF
""".split()]

EMOJI = "👨👩👧👦🧑👶🏻🏽🏿🚀🌈❤⚕✈🇦🇧🇨🇩☠🏴🫱🫶🦰🧑🔥💯😀😂🥲"
MARKS = (
    "\u0300\u0301\u0308\u0327\u0328\u0323\u0307\u0345\u05b0\u05bc\u064b\u0651\u093c\u094d\u0e34\u302a\u302e\u3099"
    "\U0001d165\U0001d16d\u20dd\u0488\u08d4\u08e1\u1ac1\u1dfb\u16ff\U00011c3f\U0001e94a\U0001e944\u1b44"
)
CASE = "İıIiŞşǅǈǋǱßẞſΣσςΆάΐΰǰŉﬁﬃԵևᲐაꭰᏸⰀⱠꙀꞀꞪꟀＡｂ𐐀𐒰𞤀𖹀ᾈᾳῼΩKÅ"
CONTROL = (
    "\0\x01\x07\t\n\r\x0b\x0c\x1b\x1c\x1f\x7f\x80\x85\x9f\xa0\xad\u061c\u180e\u200b\u200c\u200d\u200e\u2028"
    "\u2029\u202e\u2060\u2066\u3000\ufeff\ufff9\ufffd\ufffe\U000e0001\U000e0041\ue000\uf8ff\u1680\u2000\u205f"
)
SPECIALS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[sep]",
    "[SEP",
    "SEP]",
    "[[SEP]]",
    "[ SEP ]",
    "[MASK]s",
    "un[MASK]able",
    "[UNK][UNK]",
    "[Mask]",
    "[S\u0301EP]",
    "[SE\0P]",
    "[unused1]",
    "##ing",
    "[MASK",
]
BAD = [
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xed\xb0\x80\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\x80",
    b"\xbf\xbf",
    b"\xf8\x88\x80\x80\x80",
    b"\xfe",
    b"\xe0\x80\x80",
    b"\xc3",
    b"\xf0\x80\x80\x80",
]

# Where the tables of src/text/unicode.c begin and end, and characters that changed from one version
# of Unicode to another.
EDGES = [int(c, 16) for c in """
130 5C8 5C9 61D 7FD 890 897 8D3 8E2 9FD 9FE A76 AFA AFF B53 B55 C04 C3C C77 C84 D00 D3B D3C D81
EBA ECE 166D 1715 1734 180F 1886 1ABF 1AF0 1B4E 1B4F 1B7D 1B7F 1C89 1DF6 1DFA 1DFB 2E43 2E63
302F 3400 4DBF 4E00 9FFF A7CB A7CC A7CE A7D2 A7D4 A7DA A7DC A82C A8C5 A8FF A9BD F900 FAFF FFFD
105C9 105E4 10D24 10D50 10D65 10F85 10F89 11070 11074 110C2 110CD 111C9 111CF 1123E 11241 1133B
11383 113BB 113D0 1145E 11660 1166C 116B9 1171E 1182F 11839 11938 1193D 11A99 11D42 11FFF 12FF1
1612F 16D68 16D6D 16EA0 16EB8 16F4F 16FE2 16FE4 16FF1 1CF00 1D127 1D128 1D15E 1D250 1D25B 1D25C
1D281 1E000 1E08F 1E6F5 1E944 1E95F 20000 2A6DF 2A700 2B81F 2B820 2B91F 2B920 2CEAF 2F800 2FA1F
2FA20
""".split()]


def character(draw, low, high):
    c = draw.randint(low, high)
    return "" if 0xD800 <= c <= 0xDFFF else chr(c)


def words(draw, one, most=12):
    """Words of characters that one() makes."""
    text = ""
    for _ in range(draw.randint(1, most)):
        text += "".join(one() for _ in range(draw.randint(1, 9))) + draw.choice(
            [" ", " ", " ", ", ", ". ", "-", ""]
        )
    return text


def long_word(draw):
    unit = draw.choice(
        [
            "a",
            "é",
            "e\u0301",
            "한",
            "ß",
            "я",
            "ﬁ",
            "0",
            "\u0301",
            "x\u200d",
            "𝒜",
            "ǆ",
            "e\u302e",
            "가\u08d4",
        ]
    )
    count = draw.choice([1, 33, 34, 49, 50, 51, 98, 99, 100, 101, 102, 150, 300, 2000])
    return draw.choice(["", "in ", "b"]) + unit * count + draw.choice(["", " word", "!", "s"])


def piece_word(draw, tokens):
    return "".join(draw.choice(tokens) for _ in range(draw.randint(1, 4)))


def text(draw, kind, tokens):
    if kind == "sentence":
        return draw.choice(SENTENCES)
    if kind == "changed":
        s = draw.choice(SENTENCES)
        at = draw.randrange(len(s))
        s = s[at : at + draw.randint(1, 80)]
        return draw.choice(
            [
                str.upper,
                str.lower,
                str.title,
                str.swapcase,
                *(
                    lambda t, form=form: unicodedata.normalize(form, t)
                    for form in ("NFC", "NFD", "NFKC", "NFKD")
                ),
            ]
        )(s)
    if kind == "block":
        low, high = draw.choice(BLOCKS)
        return words(draw, lambda: character(draw, low, high))
    if kind == "blocks":
        return words(draw, lambda: character(draw, *draw.choice(BLOCKS)))
    if kind == "any":
        return words(
            draw, lambda: character(draw, 0, draw.choice([0x7FF, 0xFFFF, 0x1FFFF, 0x10FFFF]))
        )
    if kind == "emoji":
        return words(
            draw, lambda: draw.choice(EMOJI) + draw.choice(["", "\ufe0f", "\u200d", "\u20e3"]), 5
        )
    if kind == "marks":
        return words(
            draw,
            lambda: draw.choice("aeiouאبकの가")
            + "".join(draw.choice(MARKS) for _ in range(draw.randint(0, 4))),
            6,
        )
    if kind == "case":
        return words(draw, lambda: draw.choice(CASE), 5)
    if kind == "control":
        return words(
            draw, lambda: draw.choice([draw.choice(CONTROL), "a", "the", "no", "\u00e9"]), 5
        )
    if kind == "hangul":
        return words(
            draw,
            lambda: draw.choice(
                [character(draw, 0xAC00, 0xD7A3), character(draw, 0x1100, 0x11FF)]
            ),
            6,
        )
    if kind == "long":
        return long_word(draw)
    if kind == "special":
        return "".join(
            draw.choice([draw.choice(SPECIALS), " ", "word", " a ", "\u4e2d", "e\u0301"])
            for _ in range(draw.randint(1, 8))
        )
    assert kind == "pieces"
    return " ".join(
        draw.choice([str, str.upper, str.title])(piece_word(draw, tokens))
        for _ in range(draw.randint(1, 30))
    )


KINDS = [
    "sentence",
    "changed",
    "changed",
    "block",
    "block",
    "blocks",
    "any",
    "emoji",
    "marks",
    "case",
    "control",
    "hangul",
    "long",
    "special",
    "pieces",
    "pieces",
]


def lines(count, tokens, seed):
    """`count` lines as bytes; `tokens` are words and pieces of a vocabulary."""
    draw = random.Random(seed)
    pieces = [t.removeprefix("##") for t in tokens if t and not t.startswith("[")]
    result = []
    for i in range(count):
        line = text(draw, KINDS[i % len(KINDS)], pieces).encode("utf-8", "replace")
        if draw.random() < 0.12:
            at = draw.randint(0, len(line))
            line = line[:at] + draw.choice(BAD) + line[at + draw.randint(0, 2) :]
        result.append(line)
    return result


def character_lines(count, seed):
    """Lines whose characters a vocabulary of characters tells apart; and what is in that vocabulary."""
    draw = random.Random(seed)
    sources = sorted(
        set("".join(SENTENCES))
        | set(MARKS)
        | set(CASE)
        | set(CONTROL)
        | set(EMOJI)
        | set(
            chr(c)
            for c in [
                *range(0x20, 0x180),
                *range(0x1100, 0x1120),
                0x378,
                0xAC00,
                0xAC01,
                0x2F804,
                0x2EBE0,
                0x30001,
                0x10FFFF,
                *EDGES,
            ]
        )
    )
    forms = set()
    lower = {
        0xA7CB: 0x264,
        0xA7DC: 0x19B,
        0x10D50: 0x10D70,
        0x10D65: 0x10D85,
        0x16EA0: 0x16EBB,
        0x16EB8: 0x16ED3,
    }
    for c in sources:
        next_one = chr(lower.get(ord(c), ord(c) + (ord(c) in EDGES)))
        for form in (
            c,
            next_one,
            c.lower(),
            unicodedata.normalize("NFD", c),
            unicodedata.normalize("NFD", c).lower(),
        ):
            forms.update(form)
    known = sorted(
        c
        for c in forms
        if not c.isspace()
        and unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co")
        and not 0x4E00 <= ord(c) <= 0x9FFF
    )
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + known + ["##" + c for c in known]
    marks = [c for c in sources if unicodedata.category(c) in ("Mn", "Mc")]
    edges = [f"a{chr(c)}b {chr(c)} a{chr(c)}\u0334\u302e a\u302e{chr(c)}" for c in EDGES]
    result = [" ".join(edges[i : i + 4]).encode() for i in range(0, len(edges), 4)]
    # Marks that stay, of equal order and around a mark without one, which goes.
    result += ["a\u302f\u302e\U0001d16d b\u302e\u0941\U0001d165 c\u302e\u0301\U0001d165".encode()]
    while len(result) < count:
        result.append(
            words(
                draw,
                lambda: draw.choice(
                    [draw.choice(sources), draw.choice(SENTENCES)[:1], draw.choice(marks)]
                ),
                5,
            ).encode()
        )
    return result, tokens
