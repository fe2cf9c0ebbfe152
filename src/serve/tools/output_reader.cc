#include "serve/tools/output_reader.h"

#include <algorithm>

#include "serve/tools/call_stream.h"

namespace conclave::serve {

namespace {

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// How much of the end of `text` may be the beginning of a mark.
std::size_t held_back(std::string_view text, std::initializer_list<std::string_view> marks) {
  std::size_t most = 0;
  for (const std::string_view mark : marks) {
    for (std::size_t n = std::min(mark.empty() ? 0 : mark.size() - 1, text.size()); n > most; --n) {
      if (text.ends_with(mark.substr(0, n))) most = n;
    }
  }
  return most;
}

void add(OutputPieces& out, OutputPiece::Kind kind, std::string_view text) {
  if (text.empty()) return;
  if (!out.empty() && out.back().kind == kind && kind != OutputPiece::Kind::kCall) {
    out.back().text += text;
  } else {
    out.push_back({kind, std::string(text), {}});
  }
}

// Forms with marks around reasoning and calls, or without any around calls.
class MarkedReader final : public OutputReader {
 public:
  explicit MarkedReader(const ReaderOptions& options)
      : options_(options),
        form_(options_.form),
        calls_open_(options.tools ? form_.open : ""),
        place_(options.thinking ? Place::kReasoning : Place::kStart) {}

  OutputPieces push(std::string_view text, bool last) override {
    pending_ += text;
    OutputPieces out;
    while (advance(out, last)) {
    }
    return out;
  }

 private:
  enum class Place : std::uint8_t { kStart, kText, kReasoning, kCalls };
  using Kind = OutputPiece::Kind;

  // One step over what is pending; false: more text is needed.
  bool advance(OutputPieces& out, bool last) {
    switch (place_) {
      case Place::kStart:
        return start(last);
      case Place::kText:
        return text(out, last);
      case Place::kReasoning:
        return reasoning(out, last);
      case Place::kCalls:
        return calls(out, last);
    }
    return false;
  }

  // White space in front of an answer waits until it is known what follows.
  bool start(bool last) {
    const auto begin =
        std::find_if_not(pending_.begin(), pending_.end(), is_space) - pending_.begin();
    const std::string rest = pending_.substr(static_cast<std::size_t>(begin));
    if (rest.empty() && !last) return false;
    const bool bare = options_.tools && form_.tools == ToolForm::kBare;
    if (bare && !last && rest.size() < std::string_view(marks::kPython).size() &&
        std::string_view(marks::kPython).starts_with(rest)) {
      return false;
    }
    if (bare &&
        (rest.starts_with('{') || rest.starts_with('[') || rest.starts_with(marks::kPython))) {
      place_ = Place::kCalls;
      return true;
    }
    place_ = Place::kText;
    // A mark after white space: the space belongs to neither.
    for (const std::string& mark : {form_.think_open, calls_open_}) {
      if (!mark.empty() && rest.starts_with(mark))
        pending_.erase(0, static_cast<std::size_t>(begin));
      else if (!last && !mark.empty() && std::string_view(mark).starts_with(rest))
        place_ = Place::kStart;
    }
    return place_ == Place::kText;
  }

  bool text(OutputPieces& out, bool last) {
    const std::size_t think =
        thought_ || form_.think_open.empty() ? std::string::npos : pending_.find(form_.think_open);
    const std::size_t call = calls_open_.empty() ? std::string::npos : pending_.find(calls_open_);
    const std::size_t first = std::min(think, call);
    if (first != std::string::npos) {
      say(out, std::string_view(pending_).substr(0, first), true);
      const bool is_call = call < think;
      pending_.erase(0, first + (is_call ? calls_open_ : form_.think_open).size());
      place_ = is_call ? Place::kCalls : Place::kReasoning;
      return true;
    }
    const std::size_t held =
        last ? 0
             : held_back(pending_,
                         {thought_ ? "" : std::string_view(form_.think_open), calls_open_});
    say(out, std::string_view(pending_).substr(0, pending_.size() - held), false);
    pending_.erase(0, pending_.size() - held);
    return false;
  }

  // Where calls are read, white space between them and the text is no text.
  void say(OutputPieces& out, std::string_view text, bool before_mark) {
    std::string all = std::exchange(spaces_, "");
    all += text;
    std::size_t end = all.size();
    if (!calls_open_.empty()) {
      while (end > 0 && is_space(all[end - 1])) --end;
      if (!before_mark) spaces_ = all.substr(end);
    }
    all.resize(end);
    if (after_mark_) {
      const auto begin = std::find_if_not(all.begin(), all.end(), is_space);
      all.erase(all.begin(), begin);
      if (!all.empty())
        after_mark_ = false;
      else if (!before_mark)
        spaces_.clear();
    }
    add(out, Kind::kText, all);
  }

  bool reasoning(OutputPieces& out, bool last) {
    thought_ = true;
    // Some models open what the prompt has opened already.
    while (!begun_) {
      const auto begin = std::find_if_not(pending_.begin(), pending_.end(), is_space);
      pending_.erase(pending_.begin(), begin);
      if (pending_.starts_with(form_.think_open)) {
        pending_.erase(0, form_.think_open.size());
        continue;
      }
      if (!last && form_.think_open.starts_with(pending_)) return false;
      begun_ = true;
    }
    const std::size_t end = pending_.find(form_.think_close);
    std::size_t stop = end;
    if (end == std::string::npos) {
      std::size_t held = last ? 0 : held_back(pending_, {form_.think_close});
      stop = pending_.size() - held;
    }
    std::size_t shown = stop;  // white space before the end waits
    while (shown > 0 && is_space(pending_[shown - 1])) --shown;
    if (!last || end != std::string::npos) {
      add(out, Kind::kReasoning, std::string_view(pending_).substr(0, shown));
    } else {
      add(out, Kind::kReasoning, std::string_view(pending_).substr(0, stop));
    }
    if (end != std::string::npos) {
      pending_.erase(0, end + form_.think_close.size());
      place_ = Place::kText;
      after_mark_ = true;
      if (form_.tools == ToolForm::kBare && options_.tools) place_ = Place::kStart;
      return true;
    }
    pending_.erase(0, last ? stop : shown);
    return false;
  }

  bool calls(OutputPieces& out, bool last) {
    const std::size_t end = form_.close.empty() ? std::string::npos : pending_.find(form_.close);
    if (options_.stream) {
      const std::size_t held =
          end == std::string::npos && !last ? held_back(pending_, {form_.close}) : 0;
      const std::size_t stop = std::min(end, pending_.size() - held);
      stream_.push(std::string_view(pending_).substr(streamed_, stop - streamed_), out);
      streamed_ = stop;
    }
    if (end == std::string::npos && !last) return false;
    const std::string body = pending_.substr(0, end);
    auto made = parse_calls(options_, body);
    const std::size_t begun = stream_.begun();
    for (std::size_t i = begun; i < made.size(); ++i) {
      out.push_back({Kind::kCall, "", std::move(made[i])});
    }
    stream_.reset();
    streamed_ = 0;
    if (made.empty() && begun == 0) {
      add(out, Kind::kText, calls_open_ + body + (end == std::string::npos ? "" : form_.close));
    }
    pending_.erase(0, end == std::string::npos ? end : end + form_.close.size());
    place_ = Place::kText;
    after_mark_ = !made.empty() || begun > 0;
    return end != std::string::npos;
  }

  ReaderOptions options_;
  const OutputForm& form_;
  std::string calls_open_;  // empty where calls are not read, or have no mark
  Place place_;
  std::string pending_, spaces_;
  CallStream stream_{options_};
  std::size_t streamed_ = 0;  // of pending_, by stream_
  bool thought_ = false, begun_ = false, after_mark_ = false;
};

// Harmony: messages with a header that names a channel and perhaps a receiver.
class ChannelReader final : public OutputReader {
 public:
  explicit ChannelReader(const ReaderOptions& options) : options_(options) {}

  OutputPieces push(std::string_view text, bool last) override {
    pending_ += text;
    OutputPieces out;
    while (in_body_ ? body(out, last) : header(out, last)) {
    }
    return out;
  }

 private:
  using Kind = OutputPiece::Kind;

  bool header(OutputPieces& out, bool last) {
    const std::size_t end = pending_.find(marks::kMessage);
    if (end == std::string::npos) {
      // A text that never had a header.
      if (last && pending_.find("<|") == std::string::npos) add(out, Kind::kText, pending_);
      if (last) pending_.clear();
      return false;
    }
    const std::string head = pending_.substr(0, end);
    pending_.erase(0, end + std::string_view(marks::kMessage).size());
    const std::size_t channel = head.find(marks::kChannel);
    const std::string_view name =
        channel == head.npos
            ? std::string_view()
            : std::string_view(head).substr(channel + std::string_view(marks::kChannel).size());
    receiver_.clear();
    if (const std::size_t to = head.find("to="); to != head.npos) {
      std::size_t stop = to + 3;
      while (stop < head.size() && !is_space(head[stop]) && head[stop] != '<') ++stop;
      receiver_ = head.substr(to + 3, stop - to - 3);
    }
    kind_ = name.starts_with("analysis") ? Kind::kReasoning : Kind::kText;
    if (!receiver_.empty() && options_.tools) kind_ = Kind::kCall;
    in_body_ = true;
    return true;
  }

  // A message to a tool, up to `end`; false: it is not whole yet.
  bool call_body(OutputPieces& out, std::size_t end, bool last) {
    const std::string name = receiver_.substr(receiver_.starts_with("functions.") ? 10 : 0);
    const std::size_t first = out.size();
    if (options_.stream) {
      const std::size_t held =
          end == std::string::npos && !last
              ? held_back(pending_, {marks::kEnd, marks::kCall, marks::kReturn, marks::kStart})
              : 0;
      const std::size_t stop = std::min(end, pending_.size() - held);
      stream_.push(std::string_view(pending_).substr(streamed_, stop - streamed_), out);
      streamed_ = stop;
    }
    const bool whole = end != std::string::npos || last;
    if (whole && stream_.begun() == 0) {
      const std::string text = pending_.substr(0, end);
      auto calls = parse_calls(options_, text);
      for (ToolCall& call : calls) out.push_back({Kind::kCall, "", std::move(call)});
      if (calls.empty()) add(out, Kind::kText, text);
    }
    for (std::size_t i = first; i < out.size(); ++i) out[i].call.name = name;
    if (whole) {
      stream_.reset();
      streamed_ = 0;
    }
    return whole;
  }

  bool body(OutputPieces& out, bool last) {
    std::size_t end = std::string::npos, size = 0;
    for (const std::string_view mark : {marks::kEnd, marks::kCall, marks::kReturn, marks::kStart}) {
      const std::size_t at = pending_.find(mark);
      if (at >= end) continue;
      end = at;
      size = mark == marks::kStart ? 0 : mark.size();
    }
    const bool ends = end != std::string::npos;
    if (kind_ == Kind::kCall) {
      if (!call_body(out, end, last)) return false;
    } else {
      const std::size_t held =
          ends || last
              ? 0
              : held_back(pending_, {marks::kEnd, marks::kCall, marks::kReturn, marks::kStart});
      end = ends ? end : pending_.size() - held;
      add(out, kind_, std::string_view(pending_).substr(0, end));
    }
    pending_.erase(0, end == std::string::npos ? end : end + size);
    in_body_ = !ends;
    return ends;
  }

  ReaderOptions options_;
  std::string pending_, receiver_;
  CallStream stream_{options_};
  std::size_t streamed_ = 0;  // of pending_, by stream_
  Kind kind_ = Kind::kText;
  bool in_body_ = false;
};

}  // namespace

std::unique_ptr<OutputReader> make_output_reader(const ReaderOptions& options) {
  if (options.form.channels()) return std::make_unique<ChannelReader>(options);
  return std::make_unique<MarkedReader>(options);
}

}  // namespace conclave::serve
