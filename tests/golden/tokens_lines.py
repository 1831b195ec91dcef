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

BLOCKS = [(0x20, 0x7E), (0x80, 0xFF), (0x100, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF),
          (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7BF),
          (0x7C0, 0x7FF), (0x800, 0x8FF), (0x900, 0x97F), (0x980, 0x9FF), (0xA00, 0xAFF), (0xB00, 0xBFF),
          (0xC00, 0xCFF), (0xD00, 0xDFF), (0xE00, 0xEFF), (0xF00, 0xFFF), (0x1000, 0x109F),
          (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x13FF), (0x1400, 0x169F),
          (0x16A0, 0x17FF), (0x1800, 0x18AF), (0x1900, 0x1AFF), (0x1B00, 0x1CFF), (0x1D00, 0x1DFF),
          (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20CF), (0x20D0, 0x20FF),
          (0x2100, 0x214F), (0x2150, 0x23FF), (0x2400, 0x25FF), (0x2600, 0x27BF), (0x27C0, 0x2BFF),
          (0x2C00, 0x2DFF), (0x2E00, 0x2E7F), (0x2E80, 0x2FFF), (0x3000, 0x303F), (0x3040, 0x30FF),
          (0x3100, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF), (0xA4D0, 0xA6FF),
          (0xA700, 0xA8FF), (0xA900, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFAFF),
          (0xFB00, 0xFDFF), (0xFE00, 0xFEFF), (0xFF00, 0xFFFF), (0x10000, 0x107FF), (0x10800, 0x10FFF),
          (0x11000, 0x11FFF), (0x12000, 0x143FF), (0x16800, 0x18CFF), (0x1B000, 0x1BCFF),
          (0x1D000, 0x1D7FF), (0x1E000, 0x1EFFF), (0x1F000, 0x1FAFF), (0x20000, 0x2A6DF),
          (0x2A700, 0x2EBEF), (0x2F800, 0x2FA1F), (0x30000, 0x3134F), (0xE0000, 0xE01EF),
          (0xF0000, 0x10FFFF)]

EMOJI = "👨👩👧👦🧑👶🏻🏽🏿🚀🌈❤⚕✈🇦🇧🇨🇩☠🏴🫱🫶🦰🧑🔥💯😀😂🥲"
MARKS = "\u0300\u0301\u0308\u0327\u0328\u0323\u0307\u0345\u05b0\u05bc\u064b\u0651\u093c\u094d\u0e34\u302a\u302e\u3099" \
        "\U0001d165\U0001d16d\u20dd\u0488\u08d4\u08e1\u1ac1\u1dfb\u16ff\U00011c3f\U0001e94a\U0001e944\u1b44"
CASE = "İıIiŞşǅǈǋǱßẞſΣσςΆάΐΰǰŉﬁﬃԵևᲐაꭰᏸⰀⱠꙀꞀꞪꟀＡｂ𐐀𐒰𞤀𖹀ᾈᾳῼΩKÅ"
CONTROL = "\0\x01\x07\t\n\r\x0b\x0c\x1b\x1c\x1f\x7f\x80\x85\x9f\xa0\xad\u061c\u180e\u200b\u200c\u200d\u200e\u2028" \
          "\u2029\u202e\u2060\u2066\u3000\ufeff\ufff9\ufffd\ufffe\U000e0001\U000e0041\ue000\uf8ff\u1680\u2000\u205f"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[sep]", "[SEP", "SEP]", "[[SEP]]", "[ SEP ]", "[MASK]s",
            "un[MASK]able", "[UNK][UNK]", "[Mask]", "[S\u0301EP]", "[SE\0P]", "[unused1]", "##ing", "[MASK"]
BAD = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xed\xb0\x80\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98",
       b"\x80", b"\xbf\xbf", b"\xf8\x88\x80\x80\x80", b"\xfe", b"\xe0\x80\x80", b"\xc3", b"\xf0\x80\x80\x80"]


def character(draw, low, high):
    c = draw.randint(low, high)
    return "" if 0xD800 <= c <= 0xDFFF else chr(c)


def words(draw, one, most=12):
    """Words of characters that one() makes."""
    text = ""
    for _ in range(draw.randint(1, most)):
        text += "".join(one() for _ in range(draw.randint(1, 9))) + draw.choice([" ", " ", " ", ", ", ". ", "-", ""])
    return text


def long_word(draw):
    unit = draw.choice(["a", "é", "e\u0301", "한", "ß", "я", "ﬁ", "0", "\u0301", "x\u200d", "𝒜", "ǆ", "e\u302e", "가\u08d4"])
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
        s = s[at:at + draw.randint(1, 80)]
        return draw.choice([str.upper, str.lower, str.title, str.swapcase, *(
            lambda t, form=form: unicodedata.normalize(form, t) for form in ("NFC", "NFD", "NFKC", "NFKD"))])(s)
    if kind == "block":
        low, high = draw.choice(BLOCKS)
        return words(draw, lambda: character(draw, low, high))
    if kind == "blocks":
        return words(draw, lambda: character(draw, *draw.choice(BLOCKS)))
    if kind == "any":
        return words(draw, lambda: character(draw, 0, draw.choice([0x7FF, 0xFFFF, 0x1FFFF, 0x10FFFF])))
    if kind == "emoji":
        return words(draw, lambda: draw.choice(EMOJI) + draw.choice(["", "\ufe0f", "\u200d", "\u20e3"]), 5)
    if kind == "marks":
        return words(draw, lambda: draw.choice("aeiouאبकの가") + "".join(
            draw.choice(MARKS) for _ in range(draw.randint(0, 4))), 6)
    if kind == "case":
        return words(draw, lambda: draw.choice(CASE), 5)
    if kind == "control":
        return words(draw, lambda: draw.choice([draw.choice(CONTROL), "a", "the", "no", "\u00e9"]), 5)
    if kind == "hangul":
        return words(draw, lambda: draw.choice([character(draw, 0xAC00, 0xD7A3), character(draw, 0x1100, 0x11FF)]), 6)
    if kind == "long":
        return long_word(draw)
    if kind == "special":
        return "".join(draw.choice([draw.choice(SPECIALS), " ", "word", " a ", "\u4e2d", "e\u0301"])
                       for _ in range(draw.randint(1, 8)))
    assert kind == "pieces"
    return " ".join(draw.choice([str, str.upper, str.title])(piece_word(draw, tokens))
                    for _ in range(draw.randint(1, 30)))


KINDS = ["sentence", "changed", "changed", "block", "block", "blocks", "any", "emoji", "marks", "case", "control",
         "hangul", "long", "special", "pieces", "pieces"]


def lines(count, tokens, seed):
    """`count` lines as bytes; `tokens` are words and pieces of a vocabulary."""
    draw = random.Random(seed)
    pieces = [t.removeprefix("##") for t in tokens if t and not t.startswith("[")]
    result = []
    for i in range(count):
        line = text(draw, KINDS[i % len(KINDS)], pieces).encode("utf-8", "replace")
        if draw.random() < 0.12:
            at = draw.randint(0, len(line))
            line = line[:at] + draw.choice(BAD) + line[at + draw.randint(0, 2):]
        result.append(line)
    return result


def character_lines(count, seed):
    """Lines whose characters a vocabulary of characters tells apart; and what is in that vocabulary."""
    draw = random.Random(seed)
    sources = sorted(set("".join(SENTENCES)) | set(MARKS) | set(CASE) | set(CONTROL) | set(EMOJI) | set(
        chr(c) for c in [*range(0x20, 0x180), *range(0x1100, 0x1120), 0x1734, 0x166D, 0x111C9, 0x11938, 0x61D,
                         0x2E43, 0x2E5D, 0x890, 0x110CD, 0x16FF0, 0x1193D, 0x302E, 0x302F, 0xAC00, 0xAC01,
                         0x1D15E, 0x2F804, 0xF900, 0x2B820, 0x2EBE0, 0x30001, 0x378, 0x10FFFF, 0x1E000,
                         0x11442, 0x1E130, 0x7FD, 0x898]))
    forms = set()
    for c in sources:
        for form in (c, c.lower(), unicodedata.normalize("NFD", c), unicodedata.normalize("NFD", c).lower()):
            forms.update(form)
    known = sorted(c for c in forms if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co")
                   and not 0x4E00 <= ord(c) <= 0x9FFF)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + known + ["##" + c for c in known]
    marks = [c for c in sources if unicodedata.category(c) in ("Mn", "Mc")]
    result = []
    for _ in range(count):
        result.append(words(draw, lambda: draw.choice(
            [draw.choice(sources), draw.choice(SENTENCES)[:1], draw.choice(marks)]), 5).encode())
    return result, tokens
