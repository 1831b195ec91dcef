#include "src/text/unicode.h"

#include <utf8proc.h>

typedef struct text_range {
    int32_t first, last;
} text_range;

/* Where the reference, whose categories are those of Unicode 8, does not know marks, punctuation
 * and format characters of later versions (looked at: up to 18): to it they are letters. What else
 * lies in a range is neither in any version. tests/golden/make_tokens.py compares every character.
 */
static const text_range unknown_kind[] = {
    {0x5C8, 0x5C9},     {0x61D, 0x61D},     {0x7FD, 0x7FD},     {0x890, 0x8E2},
    {0x9FD, 0x9FE},     {0xA76, 0xA76},     {0xAFA, 0xAFF},     {0xB53, 0xB55},
    {0xC04, 0xC3C},     {0xC77, 0xC77},     {0xC84, 0xC84},     {0xD00, 0xD00},
    {0xD3B, 0xD3C},     {0xD81, 0xD81},     {0xEBA, 0xEBA},     {0xECE, 0xECE},
    {0x180F, 0x1886},   {0x1ABF, 0x1AF0},   {0x1B4E, 0x1B4F},   {0x1B7D, 0x1B7F},
    {0x1DF6, 0x1DFB},   {0x2E43, 0x2E63},   {0xA82C, 0xA82C},   {0xA8C5, 0xA8C5},
    {0xA8FF, 0xA8FF},   {0xA9BD, 0xA9BD},   {0x10D24, 0x10F89}, {0x11070, 0x11074},
    {0x110C2, 0x110CD}, {0x111CF, 0x111CF}, {0x1123E, 0x11241}, {0x1133B, 0x1133B},
    {0x113BB, 0x1145E}, {0x11660, 0x1166C}, {0x116B9, 0x116B9}, {0x1182F, 0x11FFF},
    {0x12FF1, 0x1612F}, {0x16D6D, 0x16F4F}, {0x16FE2, 0x16FE4}, {0x1CF00, 0x1D128},
    {0x1D25B, 0x1D25C}, {0x1E000, 0x1E6F5}, {0x1E944, 0x1E95F},
};

/* Combining classes and decompositions of the reference are those of Unicode 9: here it knows none.
 */
static const text_range unknown_order[] = {
    {0x5C8, 0x5C9},     {0x7FD, 0x7FD},     {0x897, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
    {0x1ABF, 0x1AF0},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x105C9, 0x105E4},
    {0x10D24, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x11383, 0x113D0},
    {0x1145E, 0x1145E}, {0x11839, 0x11A99}, {0x11D42, 0x1612F}, {0x16D68, 0x16FF1},
    {0x1D127, 0x1D128}, {0x1D250, 0x1D281}, {0x1E08F, 0x1E6F5},
};

/* Capitals of Unicode 16 and 17, which the reference knows and utf8proc 2.8 does not, and how far
 * from them their lower case is. */
static const struct {
    int32_t first, last, distance;
} new_capitals[] = {
    {0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
    {0xA7CC, 0xA7CC, 1},      {0xA7CE, 0xA7CE, 1},
    {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
    {0xA7DA, 0xA7DA, 1},      {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
    {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B},
};

static const text_range chinese[] = {
    {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
    {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F},
};

/* Binary search in sorted ranges. */
static bool find(const text_range *ranges, size_t count, int32_t c)
{
    size_t low = 0;
    while (count > 0) {
        const size_t half = count / 2;
        if (c > ranges[low + half].last) {
            low += half + 1;
            count -= half + 1;
        } else if (c >= ranges[low + half].first) {
            return true;
        } else {
            count = half;
        }
    }
    return false;
}

static bool order_is_unknown(int32_t c)
{
    return find(unknown_order, sizeof unknown_order / sizeof unknown_order[0], c);
}

static dynq_text_kind kind_of_ascii(int32_t c)
{
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        return DYNQ_TEXT_SPACE;
    }
    if (c < ' ' || c == 0x7F) {
        return DYNQ_TEXT_REMOVED;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return letter ? DYNQ_TEXT_WORD : DYNQ_TEXT_PUNCTUATION;
}

static dynq_text_kind kind_of_category(int category)
{
    switch (category) {
    case UTF8PROC_CATEGORY_MN: return DYNQ_TEXT_MARK;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return DYNQ_TEXT_PUNCTUATION;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return DYNQ_TEXT_SPACE;
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO: return DYNQ_TEXT_REMOVED;
    default: return DYNQ_TEXT_WORD;
    }
}

static dynq_text_kind kind_of(int32_t c, int category)
{
    switch (c) {
    case 0xFFFD: return DYNQ_TEXT_REMOVED;
    /* These changed their category after Unicode 8. */
    case 0x166D:
    case 0x111C9: return DYNQ_TEXT_PUNCTUATION;
    case 0x1734:
    case 0x1171E: return DYNQ_TEXT_MARK;
    default: break;
    }
    const dynq_text_kind kind = kind_of_category(category);
    const bool newer = kind != DYNQ_TEXT_WORD && kind != DYNQ_TEXT_SPACE &&
                       find(unknown_kind, sizeof unknown_kind / sizeof unknown_kind[0], c);
    return newer ? DYNQ_TEXT_WORD : kind;
}

dynq_text_character dynq_text_look_up(int32_t c)
{
    if (c < 0x80) {
        return (dynq_text_character){.kind = kind_of_ascii(c)};
    }
    const utf8proc_property_t *property = utf8proc_get_property(c);
    const int order = property->combining_class;
    return (dynq_text_character){
        .kind = kind_of(c, property->category),
        .order = order != 0 && order_is_unknown(c) ? 0 : order,
    };
}

size_t dynq_text_decompose(int32_t c, int32_t parts[DYNQ_TEXT_MAX_PARTS])
{
    int boundary = 0;
    parts[0] = c;
    if (c < 0xC0 || order_is_unknown(c)) {
        return 1;
    }
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(c, parts, DYNQ_TEXT_MAX_PARTS, UTF8PROC_DECOMPOSE, &boundary);
    if (count < 1 || count > DYNQ_TEXT_MAX_PARTS) {
        parts[0] = c;
        return 1;
    }
    return (size_t)count;
}

size_t dynq_text_lower(int32_t c, int32_t lower[2])
{
    if (c == 0x130) {
        /* The one character whose lower case is two: i and a dot above. */
        lower[0] = 'i';
        lower[1] = 0x307;
        return 2;
    }
    lower[0] = utf8proc_tolower(c);
    for (size_t i = 0; lower[0] == c && i < sizeof new_capitals / sizeof new_capitals[0]; i++) {
        if (c >= new_capitals[i].first && c <= new_capitals[i].last) {
            lower[0] = c + new_capitals[i].distance;
        }
    }
    return 1;
}

bool dynq_text_is_chinese(int32_t c)
{
    return c >= chinese[0].first && find(chinese, sizeof chinese / sizeof chinese[0], c);
}
