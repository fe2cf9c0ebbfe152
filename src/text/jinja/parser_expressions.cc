// Expressions, in the order of jinja2's precedence: conditional, or, and, not, comparisons,
// + -, ~, * / // %, **, sign, then attributes, calls, filters and tests.
#include <algorithm>
#include <cstdlib>

#include "text/jinja/parser_state.h"

namespace conclave::text::jinja {

NodeId Parser::expression() {
  const Nested nested(*this);
  NodeId value = parse_or();
  while (now().is_name("if")) {
    Node node = make(NodeType::kConditional, take().position);
    node.a = value;
    node.b = parse_or();
    if (skip_name("else")) node.c = expression();
    value = finish(std::move(node));
  }
  return value;
}

NodeId Parser::parse_or() {
  const NodeId first = parse_and();
  if (!now().is_name("or")) return first;
  Node node = make(NodeType::kOr, now().position);
  node.items.push_back(first);
  while (skip_name("or")) node.items.push_back(parse_and());
  return finish(std::move(node));
}

NodeId Parser::parse_and() {
  const NodeId first = parse_not();
  if (!now().is_name("and")) return first;
  Node node = make(NodeType::kAnd, now().position);
  node.items.push_back(first);
  while (skip_name("and")) node.items.push_back(parse_not());
  return finish(std::move(node));
}

NodeId Parser::parse_not() {
  if (!now().is_name("not")) return parse_compare();
  const Nested nested(*this);
  const Position position = take().position;
  return pair_node(NodeType::kNot, position, parse_not());
}

NodeId Parser::parse_compare() {
  static constexpr std::pair<std::string_view, Operator> kOperators[] = {
      {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
      {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
  Node node = make(NodeType::kCompare, now().position);
  node.items.push_back(parse_sum());
  for (;;) {
    const Token& token = now();
    const auto* const found =
        std::find_if(std::begin(kOperators), std::end(kOperators),
                     [&](const auto& entry) { return token.is_operator(entry.first); });
    if (found != std::end(kOperators)) {
      node.operators.push_back(found->second);
    } else if (token.is_name("in")) {
      node.operators.push_back(Operator::kIn);
    } else if (token.is_name("not") && ahead().is_name("in")) {
      node.operators.push_back(Operator::kNotIn);
      take();
    } else {
      break;
    }
    take();
    node.items.push_back(parse_sum());
  }
  return node.operators.empty() ? node.items[0] : finish(std::move(node));
}

template <class Next>
NodeId Parser::arithmetic(Names operators, Next next) {
  static constexpr std::pair<std::string_view, Operator> kOperators[] = {
      {"+", Operator::kAdd},    {"-", Operator::kSubtract},     {"*", Operator::kMultiply},
      {"/", Operator::kDivide}, {"//", Operator::kFloorDivide}, {"%", Operator::kModulo},
      {"**", Operator::kPower}};
  Node node = make(NodeType::kArithmetic, now().position);
  node.items.push_back(next());
  for (;;) {
    bool found = false;
    for (const std::string_view op : operators) found = found || now().is_operator(op);
    if (!found) break;
    if (node.operators.empty()) node.position = now().position;
    for (const auto& [text, op] : kOperators) {
      if (now().is_operator(text)) node.operators.push_back(op);
    }
    take();
    node.items.push_back(next());
  }
  return node.operators.empty() ? node.items[0] : finish(std::move(node));
}

NodeId Parser::parse_sum() {
  return arithmetic({"+", "-"}, [this] { return parse_concat(); });
}

NodeId Parser::parse_concat() {
  Node node = make(NodeType::kConcat, now().position);
  node.items.push_back(parse_product());
  while (skip_operator("~")) node.items.push_back(parse_product());
  return node.items.size() == 1 ? node.items[0] : finish(std::move(node));
}

NodeId Parser::parse_product() {
  return arithmetic({"*", "/", "//", "%"}, [this] { return parse_power(); });
}

NodeId Parser::parse_power() {
  return arithmetic({"**"}, [this] { return parse_unary(true); });
}

NodeId Parser::parse_unary(bool with_filter) {
  const Nested nested(*this);
  NodeId node;
  const Position position = now().position;
  if (skip_operator("-")) {
    node = pair_node(NodeType::kNegative, position, parse_unary(false));
  } else if (skip_operator("+")) {
    node = pair_node(NodeType::kPositive, position, parse_unary(false));
  } else {
    node = parse_primary();
  }
  node = parse_postfix(node);
  return with_filter ? parse_filters(node) : node;
}

NodeId Parser::number_constant() {
  const Token& token = take();
  Node node = make(NodeType::kConstant, token.position);
  if (token.type == TokenType::kFloat) {
    node.value = Value::real(std::strtod(token.text.c_str(), nullptr));
    return finish(std::move(node));
  }
  std::string_view digits = token.text;
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0' && digits[1] > '9') {
    base = digits[1] == 'b' ? 2 : digits[1] == 'o' ? 8 : 16;
    digits.remove_prefix(2);
  }
  if (digits.size() > 4000) error(token.position, "a number of more than 4000 digits");
  node.value = Value::integer(BigInt::from_digits(digits, base));
  return finish(std::move(node));
}

NodeId Parser::name_node() {
  const Token& token = take();
  Node node = make(NodeType::kName, token.position);
  node.name = ast_.name_id(token.text);
  if (!uses_.empty()) {
    uses_.back().caller |= token.text == "caller";
    uses_.back().kwargs |= token.text == "kwargs";
    uses_.back().varargs |= token.text == "varargs";
  }
  return finish(std::move(node));
}

NodeId Parser::parse_primary() {
  const Token& token = now();
  Node node = make(NodeType::kConstant, token.position);
  switch (token.type) {
    case TokenType::kName: {
      const std::string& name = token.text;
      if (name == "true" || name == "True" || name == "false" || name == "False") {
        node.value = Value::boolean(name[0] == 't' || name[0] == 'T');
      } else if (name == "none" || name == "None") {
        node.value = Value::none();
      } else {
        return name_node();
      }
      take();
      return finish(std::move(node));
    }
    case TokenType::kString: {
      std::string text;
      while (now().type == TokenType::kString) text += take().text;
      node.value = Value::string(text, Origin::kTemplate);
      return finish(std::move(node));
    }
    case TokenType::kInteger:
    case TokenType::kFloat:
      return number_constant();
    default:
      break;
  }
  if (skip_operator("(")) {
    const NodeId inner = parse_tuple({.parentheses = true});
    expect_operator(")");
    return inner;
  }
  if (token.is_operator("[")) return parse_list();
  if (token.is_operator("{")) return parse_dict();
  unexpected("an expression");
}

NodeId Parser::parse_list() {
  Node node = make(NodeType::kList, take().position);
  while (!now().is_operator("]")) {
    if (!node.items.empty()) expect_operator(",");
    if (now().is_operator("]")) break;
    node.items.push_back(expression());
  }
  take();
  return finish(std::move(node));
}

NodeId Parser::parse_dict() {
  Node node = make(NodeType::kDict, take().position);
  while (!now().is_operator("}")) {
    if (!node.items.empty()) expect_operator(",");
    if (now().is_operator("}")) break;
    node.items.push_back(expression());
    expect_operator(":");
    node.items.push_back(expression());
  }
  take();
  return finish(std::move(node));
}

bool Parser::tuple_ends(std::string_view end_name) const {
  const Token& token = now();
  return token.type == TokenType::kVariableEnd || token.type == TokenType::kBlockEnd ||
         token.is_operator(")") || (!end_name.empty() && token.is_name(end_name));
}

// One expression, or several with commas between them.
NodeId Parser::parse_tuple(TupleOptions options) {
  const Nested nested(*this);
  Node node = make(NodeType::kTuple, now().position);
  bool is_tuple = false;
  for (;;) {
    if (!node.items.empty()) expect_operator(",");
    if (tuple_ends(options.end_name)) break;
    node.items.push_back(options.with_conditional ? expression() : parse_or());
    if (!now().is_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!node.items.empty()) return node.items[0];
    if (!options.parentheses) unexpected("an expression");
  }
  return finish(std::move(node));
}

NodeId Parser::parse_postfix(NodeId node) {
  for (;;) {
    if (now().is_operator(".") || now().is_operator("[")) {
      node = parse_subscript(node);
    } else if (now().is_operator("(")) {
      node = parse_call(node);
    } else {
      return node;
    }
  }
}

NodeId Parser::parse_filters(NodeId node) {
  for (;;) {
    if (now().is_operator("|")) {
      node = parse_filter(node, false);
    } else if (now().is_name("is")) {
      node = parse_test(node);
    } else if (now().is_operator("(")) {
      node = parse_call(node);
    } else {
      return node;
    }
  }
}

NodeId Parser::parse_subscript(NodeId object) {
  const Position position = now().position;
  if (skip_operator(".")) {
    if (now().type == TokenType::kInteger) {
      const NodeId number = number_constant();
      return pair_node(NodeType::kItem, position, object, number);
    }
    Node node = make(NodeType::kAttribute, position);
    node.a = object;
    if (now().type != TokenType::kName) unexpected("a name or a number");
    node.text = take().text;
    return finish(std::move(node));
  }
  expect_operator("[");
  Node keys = make(NodeType::kTuple, position);
  while (!now().is_operator("]")) {
    if (!keys.items.empty()) expect_operator(",");
    keys.items.push_back(parse_subscribed());
  }
  take();
  const NodeId key = keys.items.size() == 1 ? keys.items[0] : finish(std::move(keys));
  return pair_node(NodeType::kItem, position, object, key);
}

NodeId Parser::parse_subscribed() {
  Node node = make(NodeType::kSlice, now().position);
  node.items.assign(3, kNoNode);
  if (!now().is_operator(":")) {
    const NodeId key = expression();
    if (!now().is_operator(":")) return key;
    node.items[0] = key;
  }
  take();
  const auto ends = [this] {
    return now().is_operator(":") || now().is_operator("]") || now().is_operator(",");
  };
  if (!ends()) node.items[1] = expression();
  if (skip_operator(":") && !ends()) node.items[2] = expression();
  return finish(std::move(node));
}

CallArguments Parser::call_arguments() {
  const Position position = now().position;
  expect_operator("(");
  CallArguments out;
  const auto need = [&](bool condition) {
    if (!condition) error(position, "invalid arguments of a call");
  };
  bool first = true;
  while (!now().is_operator(")")) {
    if (!first) {
      expect_operator(",");
      if (now().is_operator(")")) break;
    }
    first = false;
    if (skip_operator("*")) {
      need(out.list == kNoNode && out.dict == kNoNode);
      out.list = expression();
    } else if (skip_operator("**")) {
      need(out.dict == kNoNode);
      out.dict = expression();
    } else if (now().type == TokenType::kName && ahead().is_operator("=")) {
      need(out.dict == kNoNode);
      std::string name = take().text;
      take();
      for (const auto& [other, value] : out.named) {
        if (other == name) error(position, fmt::format("argument '{}' is given twice", name));
      }
      const NodeId value = expression();
      out.named.emplace_back(std::move(name), value);
    } else {
      need(out.list == kNoNode && out.dict == kNoNode && out.named.empty());
      out.positional.push_back(expression());
    }
  }
  expect_operator(")");
  return out;
}

NodeId Parser::parse_call(NodeId callee) {
  Node node = make(NodeType::kCall, now().position);
  node.a = callee;
  node.call = call_arguments();
  return finish(std::move(node));
}

// Filters one after the other; `inline_start`: the first has no | before it. kNoNode where there is
// none.
NodeId Parser::parse_filter(NodeId input, bool inline_start) {
  while (inline_start || now().is_operator("|")) {
    if (!inline_start) take();
    inline_start = false;
    Node node = make(NodeType::kFilter, now().position);
    node.a = input;
    node.text = take_name();
    while (skip_operator(".")) node.text += "." + take_name();
    if (now().is_operator("(")) node.call = call_arguments();
    input = finish(std::move(node));
  }
  return input;
}

NodeId Parser::parse_test(NodeId input) {
  const Position position = take().position;
  const bool negated = skip_name("not");
  Node node = make(NodeType::kTest, now().position);
  node.a = input;
  node.text = take_name();
  while (skip_operator(".")) node.text += "." + take_name();
  const Token& token = now();
  const bool is_value = (token.type == TokenType::kName && token.text != "else" &&
                         token.text != "or" && token.text != "and") ||
                        token.type == TokenType::kString || token.type == TokenType::kInteger ||
                        token.type == TokenType::kFloat || token.is_operator("[") ||
                        token.is_operator("{");
  if (token.is_operator("(")) {
    node.call = call_arguments();
  } else if (is_value) {
    if (token.is_name("is")) error(token.position, "tests cannot be chained with 'is'");
    const Nested nested(*this);
    const NodeId argument = parse_primary();
    node.call.positional.push_back(parse_postfix(argument));
  }
  const NodeId test = finish(std::move(node));
  return negated ? pair_node(NodeType::kNot, position, test) : test;
}

// What may stand on the left of an assignment: names, and tuples of them, with or without
// parentheses. `end_name` ends it, as "in" does in for.
NodeId Parser::target(std::string_view end_name, bool with_namespace) {
  const Nested nested(*this);
  Node node = make(NodeType::kTuple, now().position);
  bool is_tuple = false;
  for (;;) {
    if (!node.items.empty()) expect_operator(",");
    if (tuple_ends(end_name) || now().is_operator("=")) break;
    node.items.push_back(target_item(with_namespace));
    if (!now().is_operator(",")) break;
    is_tuple = true;
  }
  if (node.items.empty()) unexpected("a name to assign to");
  return is_tuple ? finish(std::move(node)) : node.items[0];
}

NodeId Parser::target_item(bool with_namespace) {
  const Position position = now().position;
  const bool list = now().is_operator("[");
  if (list || now().is_operator("(")) {
    take();
    const Nested nested(*this);
    Node node = make(list ? NodeType::kList : NodeType::kTuple, position);
    const std::string_view end = list ? "]" : ")";
    while (!now().is_operator(end)) {
      if (!node.items.empty()) expect_operator(",");
      if (now().is_operator(end)) break;
      node.items.push_back(target_item(false));
    }
    const bool one = node.items.size() == 1 && !list && !tokens_[at_ - 1].is_operator(",");
    take();
    return one ? node.items[0] : finish(std::move(node));
  }
  if (now().type != TokenType::kName) unexpected("a name to assign to");
  for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
    if (now().is_name(constant)) error(position, "cannot assign to a constant");
  }
  Node node = make(NodeType::kName, position);
  node.name = ast_.name_id(take().text);
  if (with_namespace && skip_operator(".")) {
    node.type = NodeType::kNamespaceTarget;
    node.text = take_name();
  }
  return finish(std::move(node));
}

}  // namespace conclave::text::jinja
