#include "text/jinja/parser.h"

#include <algorithm>

#include "text/jinja/parser_state.h"

namespace conclave::text::jinja {

Ast parse(std::string_view source, const std::string& name) {
  return Parser(tokenize(source, name), name).run();
}

Ast Parser::run() {
  ast_.body = statements({});
  return std::move(ast_);
}

Parser::Nested::Nested(Parser& p) : parser(p) {
  if (++parser.depth_ > kMaxSyntaxDepth) {
    fail(ErrorKind::kUnsupported, "{}, line {}, column {}: nested deeper than {} levels",
         parser.name_, parser.now().position.line, parser.now().position.column, kMaxSyntaxDepth);
  }
}

bool Parser::skip_name(std::string_view name) {
  if (!now().is_name(name)) return false;
  take();
  return true;
}

bool Parser::skip_operator(std::string_view op) {
  if (!now().is_operator(op)) return false;
  take();
  return true;
}

void Parser::expect_operator(std::string_view op) {
  if (!skip_operator(op)) unexpected(fmt::format("'{}'", op));
}

void Parser::expect_name(std::string_view name) {
  if (!skip_name(name)) unexpected(fmt::format("'{}'", name));
}

std::string Parser::take_name() {
  if (now().type != TokenType::kName) unexpected("a name");
  return take().text;
}

void Parser::expect(TokenType type, std::string_view what) {
  if (now().type != type) unexpected(what);
  take();
}

void Parser::error(Position position, const std::string& message) const {
  syntax_error(name_, position, message);
}

void Parser::unexpected(std::string_view expected) const {
  error(now().position, fmt::format("found {}, expected {}", describe(now()), expected));
}

Node Parser::make(NodeType type, Position position) const {
  Node node;
  node.type = type;
  node.position = position;
  return node;
}

NodeId Parser::finish(Node node) {
  const auto see = [&](NodeId child) {
    if (child == kNoNode) return;
    node.depth = std::max(node.depth, ast_.nodes[static_cast<std::size_t>(child)].depth + 1);
  };
  for (const NodeId child : {node.a, node.b, node.c, node.call.list, node.call.dict}) see(child);
  for (const auto* children : {&node.items, &node.body, &node.orelse, &node.call.positional}) {
    for (const NodeId child : *children) see(child);
  }
  for (const auto& [name, child] : node.call.named) see(child);
  if (node.depth > kMaxSyntaxDepth) {
    fail(ErrorKind::kUnsupported, "{}, line {}, column {}: nested deeper than {} levels", name_,
         node.position.line, node.position.column, kMaxSyntaxDepth);
  }
  ast_.nodes.push_back(std::move(node));
  return static_cast<NodeId>(ast_.nodes.size() - 1);
}

NodeId Parser::pair_node(NodeType type, Position position, NodeId a, NodeId b) {
  Node node = make(type, position);
  node.a = a;
  node.b = b;
  return finish(std::move(node));
}

// Statements up to a tag that is one of `ends`, which becomes the current token; with no ends, to
// the end of the template.
std::vector<NodeId> Parser::statements(Names ends) {
  const Nested nested(*this);
  std::vector<NodeId> out;
  for (;;) {
    const Token& token = now();
    switch (token.type) {
      case TokenType::kData: {
        Node node = make(NodeType::kData, token.position);
        node.value = Value::string(token.text, Origin::kTemplate);
        take();
        out.push_back(finish(std::move(node)));
        break;
      }
      case TokenType::kVariableBegin: {
        const Position position = take().position;
        const NodeId value = parse_tuple({});
        expect(TokenType::kVariableEnd, "'}}'");
        out.push_back(pair_node(NodeType::kPrint, position, value));
        break;
      }
      case TokenType::kBlockBegin: {
        take();
        const bool ended = std::any_of(ends.begin(), ends.end(),
                                       [this](std::string_view end) { return now().is_name(end); });
        if (ended) return out;
        const NodeId node = statement();
        if (node != kNoNode) out.push_back(node);
        expect(TokenType::kBlockEnd, "'%}'");
        break;
      }
      default:
        if (ends.size() == 0) return out;
        error(token.position,
              fmt::format("the template ends where '{}' is missing", fmt::join(ends, "' or '")));
    }
  }
}

// The same behind a tag that has just been read but for its end.
std::vector<NodeId> Parser::block_body(Names ends) {
  skip_operator(":");
  expect(TokenType::kBlockEnd, "'%}'");
  return statements(ends);
}

std::vector<NodeId> Parser::body_until(std::string_view end) {
  std::vector<NodeId> body = block_body({end});
  take();
  return body;
}

NodeId Parser::statement() {
  const Position position = now().position;
  const std::string tag = take_name();
  if (tag == "for") return parse_for();
  if (tag == "if") return parse_if();
  if (tag == "set") return parse_set();
  if (tag == "macro") return parse_macro();
  if (tag == "call") return parse_call_block();
  if (tag == "filter") return parse_filter_block();
  if (tag == "with") return parse_with();
  if (tag == "print") return parse_print();
  if (tag == "block" || tag == "generation" || tag == "autoescape") return parse_scope(tag);
  if (tag == "break" || tag == "continue") return parse_loop_control(tag);
  for (const std::string_view other : {"include", "import", "from", "extends"}) {
    if (tag != other) continue;
    fail(ErrorKind::kUnsupported,
         "{}, line {}, column {}: '{}' is not supported: a chat template is one file", name_,
         position.line, position.column, tag);
  }
  error(position, fmt::format("unknown tag '{}'", tag));
}

NodeId Parser::parse_for() {
  Node node = make(NodeType::kFor, now().position);
  node.a = target("in", false);
  expect_name("in");
  node.b = parse_tuple({.with_conditional = false, .end_name = "recursive"});
  if (skip_name("if")) node.c = expression();
  node.flag = skip_name("recursive");
  ++loops_;
  node.body = block_body({"endfor", "else"});
  --loops_;
  if (take().text == "else") node.orelse = body_until("endfor");
  return finish(std::move(node));
}

NodeId Parser::parse_if() {
  // A chain of elif is a list of nodes here, linked afterwards from its end; its nesting is not
  // that of the template, so the depths of the links do not count.
  std::vector<Node> chain;
  std::vector<NodeId> orelse;
  for (bool more = true; more;) {
    Node node = make(NodeType::kIf, now().position);
    node.a = parse_tuple({.with_conditional = false});
    node.body = block_body({"elif", "else", "endif"});
    const std::string end = take().text;
    chain.push_back(std::move(node));
    more = end == "elif";
    if (end == "else") orelse = body_until("endif");
  }
  Node head = std::move(chain.front());
  for (std::size_t i = 1; i < chain.size(); ++i) head.items.push_back(finish(std::move(chain[i])));
  head.orelse = std::move(orelse);
  return finish(std::move(head));
}

NodeId Parser::parse_set() {
  Node node = make(NodeType::kSet, now().position);
  node.a = target("", true);
  if (skip_operator("=")) {
    node.b = parse_tuple({});
    return finish(std::move(node));
  }
  node.type = NodeType::kSetBlock;
  node.b = parse_filter(kNoNode, false);
  node.body = body_until("endset");
  return finish(std::move(node));
}

void Parser::parse_parameters(Node& macro) {
  expect_operator("(");
  bool first = true;
  while (!now().is_operator(")")) {
    if (!first) expect_operator(",");
    first = false;
    const Position position = now().position;
    macro.parameters.push_back(ast_.name_id(take_name()));
    if (skip_operator("=")) {
      macro.items.push_back(expression());
    } else if (!macro.items.empty()) {
      error(position, "a parameter without a default follows one with a default");
    }
  }
  expect_operator(")");
}

void Parser::check_caller(const Node& macro) const {
  if (!macro.uses.caller) return;
  const std::size_t required = macro.parameters.size() - macro.items.size();
  for (std::size_t i = 0; i < required; ++i) {
    if (ast_.names[static_cast<std::size_t>(macro.parameters[i])] != "caller") continue;
    error(macro.position, "the parameter 'caller' must be left out or have a default");
  }
}

void Parser::parse_macro_body(Node& macro, std::string_view end) {
  const int loops = std::exchange(loops_, 0);
  uses_.emplace_back();
  macro.body = body_until(end);
  macro.uses = uses_.back();
  uses_.pop_back();
  if (!uses_.empty()) {
    uses_.back().caller |= macro.uses.caller;
    uses_.back().kwargs |= macro.uses.kwargs;
    uses_.back().varargs |= macro.uses.varargs;
  }
  loops_ = loops;
  check_caller(macro);
}

NodeId Parser::parse_macro() {
  Node node = make(NodeType::kMacro, now().position);
  node.name = ast_.name_id(take_name());
  parse_parameters(node);
  parse_macro_body(node, "endmacro");
  return finish(std::move(node));
}

NodeId Parser::parse_call_block() {
  Node node = make(NodeType::kCallBlock, now().position);
  if (now().is_operator("(")) parse_parameters(node);
  const Position position = now().position;
  node.a = expression();
  if (ast_.nodes[static_cast<std::size_t>(node.a)].type != NodeType::kCall) {
    error(position, "expected a call");
  }
  parse_macro_body(node, "endcall");
  return finish(std::move(node));
}

NodeId Parser::parse_filter_block() {
  Node node = make(NodeType::kFilterBlock, now().position);
  node.a = parse_filter(kNoNode, true);
  node.body = body_until("endfilter");
  return finish(std::move(node));
}

NodeId Parser::parse_with() {
  Node node = make(NodeType::kWith, now().position);
  while (now().type != TokenType::kBlockEnd) {
    if (!node.items.empty()) expect_operator(",");
    node.items.push_back(target("", false));
    expect_operator("=");
    node.items.push_back(expression());
  }
  node.body = body_until("endwith");
  return finish(std::move(node));
}

NodeId Parser::parse_scope(std::string_view tag) {
  Node node = make(NodeType::kScope, now().position);
  if (tag == "block") {
    const std::string name = take_name();
    skip_name("scoped");
    skip_name("required");
    node.body = body_until("endblock");
    skip_name(name);
    return finish(std::move(node));
  }
  if (tag == "autoescape") {
    const NodeId value = expression();
    const Node& found = ast_.nodes[static_cast<std::size_t>(value)];
    if (found.type != NodeType::kConstant || !found.value.is(Kind::kBool) ||
        found.value.boolean()) {
      fail(ErrorKind::kUnsupported, "{}, line {}, column {}: 'autoescape' is not supported", name_,
           node.position.line, node.position.column);
    }
    node.body = body_until("endautoescape");
    return finish(std::move(node));
  }
  const int loops = std::exchange(loops_, 0);
  node.body = body_until("endgeneration");
  loops_ = loops;
  return finish(std::move(node));
}

NodeId Parser::parse_loop_control(std::string_view tag) {
  if (loops_ == 0) error(now().position, fmt::format("'{}' outside of a loop", tag));
  return finish(make(tag == "break" ? NodeType::kBreak : NodeType::kContinue, now().position));
}

NodeId Parser::parse_print() {
  Node node = make(NodeType::kScope, now().position);
  while (now().type != TokenType::kBlockEnd) {
    if (!node.body.empty()) expect_operator(",");
    const Position position = now().position;
    node.body.push_back(pair_node(NodeType::kPrint, position, expression()));
  }
  return finish(std::move(node));
}

}  // namespace conclave::text::jinja
