// map, select, reject and their kin: filters that apply other filters and tests.
#include "text/jinja/arguments.h"
#include "text/jinja/filter_table.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"

namespace conclave::text::jinja {
namespace {

Value map_filter(Runtime& rt, const Value& input, const Args& args) {
  std::vector<Value> out;
  if (!truth(input)) return make_iterator(rt, {});
  if (args.positional.empty()) {
    const Arguments a(rt, "map", args, {"attribute", "default"});
    if (!a.has(0)) rt.error("map requires a filter argument");
    const AttributePath path(rt, a[0]);
    const Value* const otherwise = a.set(1) ? &a[1] : nullptr;
    for (const Value& item : iterate(rt, input)) out.push_back(path.of(rt, item, otherwise));
    return make_iterator(rt, std::move(out));
  }
  const Value name = args.positional[0];
  if (!name.is_string()) rt.error("No filter named '{}'.", type_name(name));
  Args rest = args;
  rest.positional.erase(rest.positional.begin());
  for (const Value& item : iterate(rt, input)) {
    out.push_back(apply_filter(rt, name.bytes(), item, rest));
  }
  return make_iterator(rt, std::move(out));
}

Value choose(Runtime& rt, const Value& input, const Args& args, bool wanted, bool attribute) {
  if (!truth(input)) return make_iterator(rt, {});
  const std::size_t offset = attribute ? 1 : 0;
  if (args.positional.size() < offset) rt.error("Missing parameter for attribute name");
  const AttributePath path(rt, attribute ? args.positional[0] : Value::none());
  Args rest;
  std::optional<std::string> name;
  if (args.positional.size() > offset) {
    if (!args.positional[offset].is_string()) {
      rt.error("No test named '{}'.", type_name(args.positional[offset]));
    }
    name = args.positional[offset].bytes();
    rest.positional.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(offset) + 1,
                           args.positional.end());
    rest.named = args.named;
  }
  std::vector<Value> out;
  for (const Value& item : iterate(rt, input)) {
    const Value value = path.of(rt, item);
    const bool holds = name ? apply_test(rt, *name, value, rest) : truth(value);
    if (holds == wanted) out.push_back(item);
  }
  return make_iterator(rt, std::move(out));
}

Value select_filter(Runtime& rt, const Value& input, const Args& args) {
  return choose(rt, input, args, true, false);
}

Value reject_filter(Runtime& rt, const Value& input, const Args& args) {
  return choose(rt, input, args, false, false);
}

Value selectattr_filter(Runtime& rt, const Value& input, const Args& args) {
  return choose(rt, input, args, true, true);
}

Value rejectattr_filter(Runtime& rt, const Value& input, const Args& args) {
  return choose(rt, input, args, false, true);
}

}  // namespace

void add_select_filters(FilterTable& table) {
  table.insert({{"map", map_filter},
                {"select", select_filter},
                {"reject", reject_filter},
                {"selectattr", selectattr_filter},
                {"rejectattr", rejectattr_filter}});
}

}  // namespace conclave::text::jinja
