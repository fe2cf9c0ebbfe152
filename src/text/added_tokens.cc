#include "text/added_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "text/code_points.h"
#include "text/display.h"
#include "text/utf8.h"
#include "text/word_chars.h"

namespace conclave::text {
namespace {

constexpr std::size_t kMaxAddedTokens = 1'000'000;
constexpr std::size_t kMaxAddedBytes = 64 * 1024 * 1024;

bool same_flags(const AddedToken& a, const AddedToken& b) {
  return a.single_word == b.single_word && a.lstrip == b.lstrip && a.rstrip == b.rstrip &&
         a.normalized == b.normalized && a.special == b.special;
}

// Where the white space at the end of text[0, end) begins, not before `from`.
std::size_t space_before(std::string_view text, std::size_t from, std::size_t end) {
  while (end > from) {
    const Utf8Char c = decode_utf8_before(text, end);
    if (!is_white_space(c.value)) break;
    end -= c.size;
  }
  return std::max(end, from);
}

std::size_t space_behind(std::string_view text, std::size_t begin) {
  while (begin < text.size()) {
    const Utf8Char c = decode_utf8(text, begin);
    if (!is_white_space(c.value)) break;
    begin += c.size;
  }
  return begin;
}

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  if (begin > 0 && is_word_char(decode_utf8_before(text, begin).value)) return false;
  return end == text.size() || !is_word_char(decode_utf8(text, end).value);
}

}  // namespace

std::vector<ByteRange> clip(TrustedRanges ranges, std::uint32_t begin, std::uint32_t end) {
  std::vector<ByteRange> out;
  auto range = std::partition_point(ranges.begin(), ranges.end(),
                                    [&](const ByteRange& r) { return r.end <= begin; });
  for (; range != ranges.end() && range->begin < end; ++range) {
    out.push_back({std::max(range->begin, begin) - begin, std::min(range->end, end) - begin});
  }
  return out;
}

bool all_trusted(TrustedRanges ranges, std::size_t size) {
  return ranges.size() == 1 && ranges[0].begin == 0 && ranges[0].end == size;
}

std::vector<AddedToken> parse_added_tokens(const JsonView& list) {
  std::vector<AddedToken> tokens;
  if (list.size() > kMaxAddedTokens) {
    fail(ErrorKind::kUnsupported, "key '{}': {} tokens; at most {} are supported", list.path(),
         list.size(), kMaxAddedTokens);
  }
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const JsonView entry = list.at(i);
    AddedToken token;
    token.content = entry.text("content");
    token.single_word = entry.boolean_or("single_word", false);
    token.lstrip = entry.boolean_or("lstrip", false);
    token.rstrip = entry.boolean_or("rstrip", false);
    token.special = entry.boolean_or("special", false);
    token.normalized = entry.boolean_or("normalized", !token.special);
    bytes += token.content.size();
    tokens.push_back(std::move(token));
  }
  if (bytes > kMaxAddedBytes) {
    fail(ErrorKind::kUnsupported, "key '{}': {} bytes of tokens; at most {} are supported",
         list.path(), bytes, kMaxAddedBytes);
  }
  return tokens;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Vocabulary& vocabulary,
                         const Normalizer* normalizer) {
  // Special tokens come first in the search lists, each once; then the others.
  std::vector<const AddedToken*> order;
  for (const AddedToken& token : tokens) {
    if (token.special && !token.content.empty() && special_.insert(token.content).second) {
      order.push_back(&token);
    }
  }
  auto next_id = static_cast<std::int64_t>(vocabulary.count());
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    const auto known = ids_.find(token.content);
    std::int64_t id = 0;
    if (known != ids_.end()) {
      if (same_flags(tokens_.at(known->second), token)) continue;
      id = known->second;
    } else {
      const auto in_vocabulary = vocabulary.find(token.content);
      id = token.id >= 0 ? token.id : in_vocabulary ? *in_vocabulary : next_id++;
    }
    // A table over all ids must not be mostly empty.
    if (id > 2 * next_id + (1 << 16)) {
      fail(ErrorKind::kBadFile, "added token '{}' has id {}, far beyond {} tokens",
           display_text(token.content), id, next_id);
    }
    if (id >= kMaxVocabulary) {
      fail(ErrorKind::kBadFile, "added token '{}' would get id {}; ids stay below {}",
           display_text(token.content), id, kMaxVocabulary);
    }
    ids_[token.content] = static_cast<std::int32_t>(id);
    tokens_[static_cast<std::int32_t>(id)] = token;
    id_limit_ = std::max(id_limit_, static_cast<std::int32_t>(id + 1));
    if (!special_.contains(token.content)) order.push_back(&token);
  }

  RegexScratch scratch;
  std::vector<std::string> contents[2];
  for (const AddedToken* token : order) {
    Patterns& patterns = token->normalized ? normalized_ : original_;
    NormalText text{token->content};
    if (token->normalized && normalizer != nullptr) normalizer->apply(text, scratch);
    contents[token->normalized ? 1 : 0].push_back(std::move(text.text));
    patterns.ids.push_back(ids_.at(token->content));
  }
  Patterns* const both[2] = {&original_, &normalized_};
  for (std::size_t i = 0; i < 2; ++i) {
    std::vector<std::string> plain;
    for (std::uint32_t k = 0; k < both[i]->ids.size(); ++k) {
      if (special_.contains(tokens_.at(both[i]->ids[k]).content)) continue;
      plain.push_back(contents[i][k]);
      both[i]->plain_index.push_back(k);
    }
    both[i]->plain = PatternSet(plain);
    both[i]->set = PatternSet(contents[i]);
  }
}

bool AddedTokens::has_special(Stage stage) const {
  const Patterns& patterns = stage == Stage::kOriginal ? original_ : normalized_;
  return patterns.plain_index.size() < patterns.ids.size();
}

std::vector<PatternSet::Match> AddedTokens::matches(const Patterns& patterns, std::string_view text,
                                                    TrustedRanges trusted) const {
  std::vector<PatternSet::Match> found;
  if (patterns.set.empty()) return found;
  if (all_trusted(trusted, text.size())) return patterns.set.find(text);
  if (trusted.empty()) {
    if (patterns.plain.empty()) return found;
    // As Hugging Face `tokenizers` does it: a special token that is passed over still hides others.
    found = patterns.set.find(text);
    std::erase_if(found, [&](const PatternSet::Match& match) {
      return special_.contains(tokens_.at(patterns.ids[match.pattern]).content);
    });
    return found;
  }
  found = patterns.plain.find_each(text);
  for (PatternSet::Match& match : found) match.pattern = patterns.plain_index[match.pattern];
  for (const ByteRange& range : trusted) {
    for (PatternSet::Match match :
         patterns.set.find_each(text.substr(range.begin, range.end - range.begin))) {
      match.begin += range.begin;
      match.end += range.begin;
      found.push_back(match);
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end > b.end;
  });
  std::uint32_t taken = 0;
  std::erase_if(found, [&taken](const PatternSet::Match& match) {
    if (match.begin < taken) return true;
    taken = match.end;
    return false;
  });
  return found;
}

std::vector<AddedPart> AddedTokens::split(Stage stage, std::string_view text,
                                          TrustedRanges trusted) const {
  const Patterns& patterns = stage == Stage::kOriginal ? original_ : normalized_;
  const auto size = static_cast<std::uint32_t>(text.size());
  const std::vector<PatternSet::Match> found = matches(patterns, text, trusted);
  if (found.empty()) return {{0, size, -1}};
  std::vector<AddedPart> parts;
  std::size_t done = 0;
  std::size_t space_begin = 1;  // the white space that was last walked through: none yet
  std::size_t space_end = 0;
  for (const PatternSet::Match& match : found) {
    const std::int32_t id = patterns.ids[match.pattern];
    const AddedToken& token = tokens_.at(id);
    std::size_t begin = match.begin;
    std::size_t end = match.end;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = space_before(text, done, begin);
    if (token.rstrip) {
      if (end < space_begin || end > space_end) {
        space_begin = end;
        space_end = space_behind(text, end);
      }
      end = space_end;
    }
    if (done < begin) {
      parts.push_back({static_cast<std::uint32_t>(done), static_cast<std::uint32_t>(begin), -1});
    }
    parts.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), id});
    done = end;
  }
  if (done < text.size()) parts.push_back({static_cast<std::uint32_t>(done), size, -1});
  return parts;
}

std::optional<std::int32_t> AddedTokens::find(std::string_view content) const {
  const auto found = ids_.find(std::string(content));
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const AddedToken* AddedTokens::token(std::int32_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second;
}

bool AddedTokens::is_special(std::string_view content) const {
  return special_.contains(std::string(content));
}

}  // namespace conclave::text
