// Filters on lists, dicts and whatever can be walked.
#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/filter_table.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/string_ops.h"

namespace conclave::text::jinja {
namespace {

Value length_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "length", args, {});
  return Value::integer(static_cast<std::int64_t>(length(rt, input)));
}

Value list_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "list", args, {});
  return rt.make_list(iterate(rt, input));
}

Value first_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "first", args, {});
  if (input.is(Kind::kIterator)) {
    auto& iterator = input.as<IteratorObject>();
    if (iterator.next < iterator.items.size()) return iterator.items[iterator.next++];
  } else if (input.is_sequence() && !input.items().empty()) {
    return input.items()[0];
  } else if (input.is_string() && !input.bytes().empty()) {
    return get_item(rt, input, Value::integer(0));
  } else {
    std::vector<Value> items = iterate(rt, input);
    if (!items.empty()) return items[0];
  }
  return undefined_hint("No first item, sequence was empty.");
}

Value last_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "last", args, {});
  if (input.is(Kind::kIterator)) rt.error("'generator' object is not reversible");
  if (input.is_sequence() && !input.items().empty()) return input.items().back();
  std::vector<Value> items = iterate(rt, input);
  if (!items.empty()) return items.back();
  return undefined_hint("No last item, sequence was empty.");
}

Value reverse_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "reverse", args, {});
  if (input.is_string()) {
    const Value none = Value::none();
    return get_slice(rt, input, none, none, Value::integer(-1));
  }
  std::vector<Value> items = iterate(rt, input);
  std::reverse(items.begin(), items.end());
  // What Python cannot walk backwards becomes a list.
  return input.is(Kind::kIterator) ? rt.make_list(std::move(items))
                                   : make_iterator(rt, std::move(items));
}

Value join_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "join", args, {"d", "attribute"});
  std::optional<AttributePath> path;
  if (a.set(1)) path.emplace(rt, a[1]);
  std::vector<MarkedText> parts;
  for (const Value& item : iterate(rt, input)) {
    parts.push_back(to_text(rt, path ? path->of(rt, item) : item));
  }
  return rt.make_string(join(rt, a.has(0) ? to_text(rt, a[0]) : MarkedText(), parts));
}

Value items_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "items", args, {});
  if (input.is_undefined()) return make_iterator(rt, {});
  if (!input.is(Kind::kDict)) rt.error("Can only get item pairs from a mapping.");
  std::vector<Value> items;
  for (const auto& [key, value] : input.dict().entries) {
    items.push_back(rt.make_tuple({key, value}));
  }
  return make_iterator(rt, std::move(items));
}

Value dictsort_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "dictsort", args, {"case_sensitive", "by", "reverse"});
  bool by_value = false;
  if (a.has(1)) {
    by_value = a[1].is_string() && a[1].bytes() == "value";
    if (!by_value && !(a[1].is_string() && a[1].bytes() == "key")) {
      rt.error("You can only sort by either \"key\" or \"value\"");
    }
  }
  if (input.is_undefined()) undefined_error(rt, input);
  if (!input.is(Kind::kDict)) rt.error("'{}' object has no attribute 'items'", type_name(input));
  const auto& entries = input.dict().entries;
  std::vector<Value> keys;
  for (const auto& [key, value] : entries) {
    const Value& by = by_value ? value : key;
    keys.push_back(a.flag(0, false) ? by : ignore_case(rt, by));
  }
  std::vector<Value> out;
  for (const std::size_t i : sorted_order(rt, keys, a.flag(2, false))) {
    out.push_back(rt.make_tuple({entries[i].first, entries[i].second}));
  }
  return rt.make_list(std::move(out));
}

// The keys of |sort: a list for each item, one entry for each attribute.
std::vector<Value> sort_keys(Runtime& rt, const std::vector<Value>& items, const Value& attribute,
                             bool case_sensitive) {
  std::vector<AttributePath> paths;
  if (attribute.is_string()) {
    for (MarkedText& part : split(rt, attribute.text(), ",", -1)) {
      paths.emplace_back(rt, Value::string(std::move(part)));
    }
  } else {
    paths.emplace_back(rt, attribute);
  }
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> key;
    for (const AttributePath& path : paths) {
      const Value value = path.of(rt, item);
      key.push_back(case_sensitive ? value : ignore_case(rt, value));
    }
    keys.push_back(rt.make_list(std::move(key)));
  }
  return keys;
}

Value sort_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "sort", args, {"reverse", "case_sensitive", "attribute"});
  const std::vector<Value> items = iterate(rt, input);
  const std::vector<Value> keys =
      sort_keys(rt, items, a.has(2) ? a[2] : Value::none(), a.flag(1, false));
  std::vector<Value> out;
  for (const std::size_t i : sorted_order(rt, keys, a.flag(0, false))) out.push_back(items[i]);
  return rt.make_list(std::move(out));
}

Value unique_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "unique", args, {"case_sensitive", "attribute"});
  const AttributePath path(rt, a.has(1) ? a[1] : Value::none());
  DictObject seen;
  std::vector<Value> out;
  for (const Value& item : iterate(rt, input)) {
    Value key = path.of(rt, item);
    if (!a.flag(0, false)) key = ignore_case(rt, key);
    if (dict_find(rt, seen, key) != nullptr) continue;
    dict_set(rt, seen, key, Value::none());
    out.push_back(item);
  }
  return make_iterator(rt, std::move(out));
}

Value extreme(Runtime& rt, const Value& input, const Args& args, bool maximum) {
  const Arguments a(rt, maximum ? "max" : "min", args, {"case_sensitive", "attribute"});
  const AttributePath path(rt, a.has(1) ? a[1] : Value::none());
  const std::vector<Value> items = iterate(rt, input);
  if (items.empty()) return undefined_hint("No aggregated item, sequence was empty.");
  const auto key_of = [&](const Value& item) {
    const Value key = path.of(rt, item);
    return a.flag(0, false) ? key : ignore_case(rt, key);
  };
  std::size_t best = 0;
  Value best_key = key_of(items[0]);
  for (std::size_t i = 1; i < items.size(); ++i) {
    Value key = key_of(items[i]);
    if (compare(rt, maximum ? Operator::kGreater : Operator::kLess, key, best_key)) {
      best = i;
      best_key = std::move(key);
    }
  }
  return items[best];
}

Value min_filter(Runtime& rt, const Value& input, const Args& args) {
  return extreme(rt, input, args, false);
}

Value max_filter(Runtime& rt, const Value& input, const Args& args) {
  return extreme(rt, input, args, true);
}

Value group(Runtime& rt, const Value& key, std::vector<Value> items) {
  Value out = rt.make_tuple({key, rt.make_list(std::move(items))});
  out.as<SequenceObject>().group = true;
  return out;
}

Value groupby_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "groupby", args, {"attribute", "default", "case_sensitive"}, 1);
  const AttributePath path(rt, a[0]);
  const Value* const otherwise = a.set(1) ? &a[1] : nullptr;
  const bool case_sensitive = a.flag(2, false);
  const std::vector<Value> items = iterate(rt, input);
  std::vector<Value> keys;
  for (const Value& item : items) {
    const Value key = path.of(rt, item, otherwise);
    keys.push_back(case_sensitive ? key : ignore_case(rt, key));
  }
  std::vector<Value> out, members;
  const std::vector<std::size_t> order = sorted_order(rt, keys, false);
  for (std::size_t i = 0; i < order.size(); ++i) {
    members.push_back(items[order[i]]);
    if (i + 1 < order.size() && equals(rt, keys[order[i + 1]], keys[order[i]])) continue;
    const Value key = case_sensitive ? keys[order[i]] : path.of(rt, members[0], otherwise);
    out.push_back(group(rt, key, std::move(members)));
    members.clear();
  }
  return rt.make_list(std::move(out));
}

Value batch_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "batch", args, {"linecount", "fill_with"}, 1);
  std::vector<Value> out, line;
  for (const Value& item : iterate(rt, input)) {
    if (equals(rt, Value::integer(static_cast<std::int64_t>(line.size())), a[0])) {
      out.push_back(rt.make_list(std::move(line)));
      line.clear();
    }
    line.push_back(item);
  }
  if (!line.empty()) {
    if (a.set(1)) {
      const std::int64_t count = as_index(rt, a[0]) - static_cast<std::int64_t>(line.size());
      if (count > 0) {
        rt.charge_items(static_cast<std::uint64_t>(count));
        line.insert(line.end(), static_cast<std::size_t>(count), a[1]);
      }
    }
    out.push_back(rt.make_list(std::move(line)));
  }
  return make_iterator(rt, std::move(out));
}

Value slice_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "slice", args, {"slices", "fill_with"}, 1);
  const std::vector<Value> items = iterate(rt, input);
  const std::int64_t slices = a.index(0, 0);
  if (slices == 0) rt.error("integer division or modulo by zero");
  rt.charge_items(static_cast<std::uint64_t>(std::max<std::int64_t>(0, slices)) * 4);
  const std::int64_t each = static_cast<std::int64_t>(items.size()) / slices;
  const std::int64_t longer = static_cast<std::int64_t>(items.size()) % slices;
  std::vector<Value> out;
  auto at = items.begin();
  for (std::int64_t i = 0; i < slices; ++i) {
    const std::int64_t count = each + (i < longer ? 1 : 0);
    std::vector<Value> part(at, at + count);
    at += count;
    if (a.set(1) && i >= longer) part.push_back(a[1]);
    out.push_back(rt.make_list(std::move(part)));
  }
  return make_iterator(rt, std::move(out));
}

Value default_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "default", args, {"default_value", "boolean"});
  if (!input.is_undefined() && !(a.flag(1, false) && !truth(input))) return input;
  return a.has(0) ? a[0] : Value::string("", Origin::kTemplate);
}

Value attr_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "attr", args, {"name"}, 1);
  const std::string_view name = a.text(0).view();
  Value out = get_attribute(rt, input, name);
  // Only attributes, not items.
  if (input.is(Kind::kDict) && !out.is(Kind::kMethod) && !out.is_undefined()) {
    return undefined_hint(fmt::format("'dict object' has no attribute '{}'", name));
  }
  return out;
}

}  // namespace

void add_sequence_filters(FilterTable& table) {
  table.insert({{"length", length_filter},
                {"count", length_filter},
                {"list", list_filter},
                {"first", first_filter},
                {"last", last_filter},
                {"reverse", reverse_filter},
                {"join", join_filter},
                {"items", items_filter},
                {"dictsort", dictsort_filter},
                {"sort", sort_filter},
                {"unique", unique_filter},
                {"min", min_filter},
                {"max", max_filter},
                {"groupby", groupby_filter},
                {"batch", batch_filter},
                {"slice", slice_filter},
                {"default", default_filter},
                {"d", default_filter},
                {"attr", attr_filter}});
}

}  // namespace conclave::text::jinja
