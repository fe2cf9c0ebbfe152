#include "text/jinja/filters.h"

#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/filter_table.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/string_ops.h"

namespace conclave::text::jinja {
namespace {

const FilterTable& filters() {
  static const FilterTable table = [] {
    FilterTable out;
    add_text_filters(out);
    add_sequence_filters(out);
    add_select_filters(out);
    add_number_filters(out);
    return out;
  }();
  return table;
}

Value path_part(const Value& attribute, std::string_view part) {
  bool digits = !part.empty() && part.size() < 18;
  for (const char c : part) digits = digits && c >= '0' && c <= '9';
  return digits ? Value::integer(std::stoll(std::string(part)))
                : Value::string(part, attribute.text().origin());
}

}  // namespace

AttributePath::AttributePath(Runtime& rt, const Value& attribute) {
  if (attribute.is(Kind::kNone)) return;
  if (!attribute.is_string()) {
    parts_.push_back(attribute);
    return;
  }
  rt.step(attribute.bytes().size() / 8);
  const std::string_view text = attribute.bytes();
  for (std::size_t begin = 0;;) {
    const std::size_t end = std::min(text.find('.', begin), text.size());
    parts_.push_back(path_part(attribute, text.substr(begin, end - begin)));
    if (end == text.size()) break;
    begin = end + 1;
  }
}

Value AttributePath::of(Runtime& rt, const Value& item, const Value* otherwise) const {
  Value out = item;
  for (const Value& part : parts_) {
    rt.step();
    out = get_item(rt, out, part);
    if (otherwise != nullptr && out.is_undefined()) out = *otherwise;
  }
  return out;
}

Value ignore_case(Runtime& rt, const Value& value) {
  if (!value.is_string()) return value;
  return rt.make_string(map_case(rt, value.text(), CaseMapping::kLower));
}

Value soft_string(Runtime& rt, const Value& value) {
  return value.is_string() ? value : rt.make_string(to_text(rt, value));
}

Value make_iterator(Runtime& rt, std::vector<Value> items) {
  auto iterator = std::make_shared<IteratorObject>();
  rt.charge_items(items.size() + 2);
  for (const Value& item : items) iterator->depth = std::max(iterator->depth, item.depth() + 1);
  iterator->items = std::move(items);
  return rt.checked(Value(Kind::kIterator, std::move(iterator)));
}

bool has_filter(std::string_view name) { return filters().contains(name); }

Value apply_filter(Runtime& rt, std::string_view name, const Value& input, const Args& args) {
  const Runtime::Nested nested(rt);
  rt.step();
  const auto found = filters().find(name);
  if (found == filters().end()) rt.error("No filter named '{}'.", name);
  return found->second(rt, input, args);
}

}  // namespace conclave::text::jinja
