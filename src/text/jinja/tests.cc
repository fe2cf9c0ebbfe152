// The tests: what stands behind "is".
#include <array>
#include <unordered_map>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/string_methods.h"

namespace conclave::text::jinja {
namespace {

using Test = bool (*)(Runtime& rt, const Value& value);
using TestWithArgument = bool (*)(Runtime& rt, const Value& value, const Value& other);

bool is_true(Runtime&, const Value& v) { return v.is(Kind::kBool) && v.boolean(); }
bool is_false(Runtime&, const Value& v) { return v.is(Kind::kBool) && !v.boolean(); }

bool is_remainder(Runtime& rt, const Value& value, std::int64_t remainder) {
  return equals(rt, arithmetic(rt, Operator::kModulo, value, Value::integer(2)),
                Value::integer(remainder));
}

bool is_sequence(Runtime&, const Value& v) {
  return v.is_undefined() || v.is_string() || v.is_sequence() || v.is(Kind::kDict);
}

bool is_callable(Runtime&, const Value& v) {
  return v.is_undefined() || v.is(Kind::kMacro) || v.is(Kind::kFunction) || v.is(Kind::kMethod) ||
         v.is(Kind::kJoiner) || v.is(Kind::kLoop);
}

bool string_case(Runtime& rt, const Value& value, std::string_view method) {
  Args none;
  const Value text = rt.make_string(to_text(rt, value));
  return call_string_method(rt, text, method, none).boolean();
}

bool is_same(Runtime& rt, const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kNone:
      return true;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
    case Kind::kString:
      return equals(rt, a, b);
    default:
      return a.identity() == b.identity();
  }
}

const std::unordered_map<std::string_view, Test>& plain_tests() {
  static const std::unordered_map<std::string_view, Test> table = {
      {"defined", [](Runtime&, const Value& v) { return !v.is_undefined(); }},
      {"undefined", [](Runtime&, const Value& v) { return v.is_undefined(); }},
      {"none", [](Runtime&, const Value& v) { return v.is(Kind::kNone); }},
      {"boolean", [](Runtime&, const Value& v) { return v.is(Kind::kBool); }},
      {"true", is_true},
      {"false", is_false},
      {"integer", [](Runtime&, const Value& v) { return v.is(Kind::kInt) || v.is(Kind::kBigInt); }},
      {"float", [](Runtime&, const Value& v) { return v.is(Kind::kFloat); }},
      {"number", [](Runtime&, const Value& v) { return v.is_number(); }},
      {"string", [](Runtime&, const Value& v) { return v.is_string(); }},
      {"mapping", [](Runtime&, const Value& v) { return v.is(Kind::kDict); }},
      {"sequence", is_sequence},
      {"iterable", [](Runtime&, const Value& v) { return is_iterable(v); }},
      {"callable", is_callable},
      {"odd", [](Runtime& rt, const Value& v) { return is_remainder(rt, v, 1); }},
      {"even", [](Runtime& rt, const Value& v) { return is_remainder(rt, v, 0); }},
      {"lower", [](Runtime& rt, const Value& v) { return string_case(rt, v, "islower"); }},
      {"upper", [](Runtime& rt, const Value& v) { return string_case(rt, v, "isupper"); }},
      {"escaped", [](Runtime&, const Value& v) { return v.is_string() && v.str().markup; }},
      {"filter", [](Runtime&, const Value& v) { return v.is_string() && has_filter(v.bytes()); }},
      {"test", [](Runtime&, const Value& v) { return v.is_string() && has_test(v.bytes()); }},
  };
  return table;
}

template <Operator op>
bool operator_test(Runtime& rt, const Value& a, const Value& b) {
  return compare(rt, op, a, b);
}

const std::unordered_map<std::string_view, TestWithArgument>& argument_tests() {
  static const std::unordered_map<std::string_view, TestWithArgument> table = {
      {"divisibleby",
       [](Runtime& rt, const Value& a, const Value& b) {
         return equals(rt, arithmetic(rt, Operator::kModulo, a, b), Value::integer(0));
       }},
      {"sameas", is_same},
      {"in", operator_test<Operator::kIn>},
      {"eq", operator_test<Operator::kEqual>},
      {"==", operator_test<Operator::kEqual>},
      {"equalto", operator_test<Operator::kEqual>},
      {"ne", operator_test<Operator::kNotEqual>},
      {"!=", operator_test<Operator::kNotEqual>},
      {"gt", operator_test<Operator::kGreater>},
      {">", operator_test<Operator::kGreater>},
      {"greaterthan", operator_test<Operator::kGreater>},
      {"ge", operator_test<Operator::kGreaterEqual>},
      {">=", operator_test<Operator::kGreaterEqual>},
      {"lt", operator_test<Operator::kLess>},
      {"<", operator_test<Operator::kLess>},
      {"lessthan", operator_test<Operator::kLess>},
      {"le", operator_test<Operator::kLessEqual>},
      {"<=", operator_test<Operator::kLessEqual>},
  };
  return table;
}

}  // namespace

bool has_test(std::string_view name) {
  return plain_tests().contains(name) || argument_tests().contains(name);
}

bool apply_test(Runtime& rt, std::string_view name, const Value& input, const Args& args) {
  rt.step();
  if (const auto found = plain_tests().find(name); found != plain_tests().end()) {
    const Arguments a(rt, name, args, {});
    return found->second(rt, input);
  }
  const auto found = argument_tests().find(name);
  if (found == argument_tests().end()) rt.error("No test named '{}'.", name);
  const Arguments a(rt, name, args, {"other"}, 1);
  return found->second(rt, input, a[0]);
}

}  // namespace conclave::text::jinja
