#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/regex_syntax.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

constexpr std::size_t kMaxPatternBytes = 64 * 1024;
constexpr std::uint32_t kMaxGroupDepth = 64;
// Machine code saves backtracking points on a stack of its own, grown on demand.
constexpr std::size_t kJitStackFirst = 32 * 1024;
constexpr std::size_t kJitStackMost = 64 * 1024 * 1024;
// Where even that is too small, the interpreter goes on with memory from the heap.
constexpr std::uint32_t kHeapLimitKib = 256 * 1024;
// Steps of one search that cost nothing against the budget: what ordinary words take.
constexpr std::uint64_t kFreeSteps = 1000;
constexpr std::uint64_t kBudgetSteps = 10'000'000;
constexpr std::uint64_t kBudgetStepsPerByte = 256;

PCRE2_SPTR bytes_of(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 160> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Regex::Code {
  std::string pattern;
  pcre2_code* code = nullptr;
  bool machine_code = false;
  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(code); }

  void compile(const std::string& pcre2_pattern) {
    pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
    if (context == nullptr) throw std::bad_alloc();
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, kMaxGroupDepth);
    int error = 0;
    std::size_t offset = 0;
    code = pcre2_compile(bytes_of(pcre2_pattern), pcre2_pattern.size(),
                         PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                         &offset, context);
    pcre2_compile_context_free(context);
    if (code == nullptr) {
      fail(ErrorKind::kBadFile, "pattern '{}': {}", pattern, message_of(error));
    }
    machine_code = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
  }
};

struct RegexScratch::Data {
  pcre2_match_data* match = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackFirst, kJitStackMost, nullptr);
  Data() {
    if (match == nullptr || context == nullptr) throw std::bad_alloc();
    pcre2_set_heap_limit(context, kHeapLimitKib);
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  Data(const Data&) = delete;
  Data& operator=(const Data&) = delete;
  ~Data() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(match);
  }
};

struct Regex::Budget {
  std::uint64_t steps;
};

RegexScratch::RegexScratch() : data_(std::make_unique<Data>()) {}
RegexScratch::~RegexScratch() = default;

Regex::Regex() : code_(std::make_unique<Code>()) {}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Regex::Regex(std::string_view pattern) : Regex() {
  if (pattern.size() > kMaxPatternBytes) {
    fail(ErrorKind::kUnsupported, "pattern of {} bytes; at most {} are supported", pattern.size(),
         kMaxPatternBytes);
  }
  code_->pattern = pattern;
  code_->compile(to_pcre2(pattern));
}

Regex Regex::literal(std::string_view text) {
  if (text.size() > kMaxPatternBytes) {
    fail(ErrorKind::kUnsupported, "text to search for of {} bytes; at most {} are supported",
         text.size(), kMaxPatternBytes);
  }
  Regex result;
  result.code_->pattern = text;
  std::string escaped;
  for (const char c : text) {
    const bool plain = static_cast<unsigned char>(c) >= 0x80 || (c >= 'a' && c <= 'z') ||
                       (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (plain) {
      escaped.push_back(c);
    } else {
      escaped += fmt::format("\\x{{{:x}}}", static_cast<unsigned>(c));
    }
  }
  result.code_->compile(escaped);
  return result;
}

bool Regex::find(std::string_view text, std::size_t position, RegexScratch& scratch, Budget& budget,
                 std::size_t& begin, std::size_t& end) const {
  RegexScratch::Data& data = *scratch.data_;
  std::uint64_t limit = kFreeSteps;
  std::uint32_t options = PCRE2_NO_UTF_CHECK;
  while (true) {
    pcre2_set_match_limit(data.context, static_cast<std::uint32_t>(limit));
    const int result = pcre2_match(code_->code, bytes_of(text), text.size(), position, options,
                                   data.match, data.context);
    if (result == PCRE2_ERROR_NOMATCH) return false;
    if (result >= 0) {
      const std::size_t* const ends = pcre2_get_ovector_pointer(data.match);
      begin = ends[0];
      end = std::max(ends[0], ends[1]);
      return true;
    }
    if (result == PCRE2_ERROR_JIT_STACKLIMIT && (options & PCRE2_NO_JIT) == 0) {
      options |= PCRE2_NO_JIT;
      continue;
    }
    const std::uint64_t next = std::min<std::uint64_t>(limit * 4, UINT32_MAX);
    if (result != PCRE2_ERROR_MATCHLIMIT || next > budget.steps) {
      fail(ErrorKind::kUnsupported, "pattern '{}' is too costly on this text: {}", code_->pattern,
           message_of(result));
    }
    budget.steps -= next;
    limit = next;
  }
}

// Matches are taken as Oniguruma's iterator takes them: an empty match that touches the one before
// is skipped, and the search goes on one character later.
void Regex::split_valid(std::string_view text, std::uint32_t shift, RegexScratch& scratch,
                        Budget& budget, std::vector<RegexPart>& parts) const {
  const auto shifted = [shift](std::size_t at) { return shift + static_cast<std::uint32_t>(at); };
  std::size_t position = 0;
  std::size_t covered = 0;
  bool any = false;
  std::size_t begin = 0;
  std::size_t end = 0;
  while (position <= text.size() && find(text, position, scratch, budget, begin, end)) {
    if (begin == end && any && end == covered) {
      position += position < text.size() ? decode_utf8(text, position).size : 1;
      continue;
    }
    if (begin > covered) parts.push_back({shifted(covered), shifted(begin), false});
    parts.push_back({shifted(begin), shifted(end), true});
    position = covered = end;
    any = true;
  }
  if (covered < text.size()) parts.push_back({shifted(covered), shifted(text.size()), false});
}

void Regex::split(std::string_view text, std::uint32_t shift, RegexScratch& scratch,
                  std::vector<RegexPart>& parts) const {
  Budget budget{kBudgetSteps + kBudgetStepsPerByte * text.size()};
  while (!text.empty()) {
    const std::size_t good = utf8_prefix(text);
    if (good > 0) split_valid(text.substr(0, good), shift, scratch, budget, parts);
    std::size_t next = good;
    while (next < text.size() && decode_utf8(text, next).value == kInvalidChar) ++next;
    if (next > good) {
      parts.push_back({shift + static_cast<std::uint32_t>(good),
                       shift + static_cast<std::uint32_t>(next), false});
    }
    text.remove_prefix(next);
    shift += static_cast<std::uint32_t>(next);
  }
}

CodePoints class_members(const std::string& items) {
  std::string all;
  all.reserve(4'400'000);
  for (char32_t value = 0; value <= kLastCodePoint; ++value) {
    if (value < 0xd800 || value > 0xdfff) append_utf8(all, value);
  }
  Regex regex;
  regex.code_->pattern = "[" + items + "]";
  regex.code_->compile("[" + items + "]++");
  RegexScratch scratch;
  std::vector<RegexPart> parts;
  regex.split(all, 0, scratch, parts);
  CodePoints members;
  for (const RegexPart& part : parts) {
    if (!part.match) continue;
    members.push_back(
        {decode_utf8(all, part.begin).value, decode_utf8_before(all, part.end).value});
  }
  // The surrogates are not in the text, so a run over them is one.
  return members;
}

}  // namespace conclave::text
