// What the two halves of the parser (statements in parser.cc, expressions in
// parser_expressions.cc) share.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"
#include "text/jinja/parser.h"

namespace conclave::text::jinja {

class Parser {
 public:
  Parser(std::vector<Token> tokens, const std::string& name)
      : tokens_(std::move(tokens)), name_(name) {}
  Ast run();

 private:
  using Names = std::initializer_list<std::string_view>;

  // Tokens.
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  const Token& take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  bool skip_name(std::string_view name);
  bool skip_operator(std::string_view op);
  void expect_operator(std::string_view op);
  void expect_name(std::string_view name);
  std::string take_name();
  void expect(TokenType type, std::string_view what);
  [[noreturn]] void error(Position position, const std::string& message) const;
  [[noreturn]] void unexpected(std::string_view expected) const;

  // Nodes. finish() works out the depth from the children, and refuses too much.
  Node make(NodeType type, Position position) const;
  NodeId finish(Node node);
  NodeId pair_node(NodeType type, Position position, NodeId a, NodeId b = kNoNode);

  // Statements.
  std::vector<NodeId> statements(Names ends);
  std::vector<NodeId> block_body(Names ends);
  std::vector<NodeId> body_until(std::string_view end);
  NodeId statement();
  NodeId parse_for();
  NodeId parse_if();
  NodeId parse_set();
  NodeId parse_macro();
  NodeId parse_call_block();
  NodeId parse_filter_block();
  NodeId parse_with();
  NodeId parse_scope(std::string_view tag);
  NodeId parse_loop_control(std::string_view tag);
  NodeId parse_print();
  void parse_parameters(Node& macro);
  void parse_macro_body(Node& macro, std::string_view end);
  void check_caller(const Node& macro) const;

  // Expressions.
  NodeId expression();
  NodeId parse_or();
  NodeId parse_and();
  NodeId parse_not();
  NodeId parse_compare();
  NodeId parse_sum();
  NodeId parse_concat();
  NodeId parse_product();
  NodeId parse_power();
  NodeId parse_unary(bool with_filter);
  NodeId parse_primary();
  NodeId parse_postfix(NodeId node);
  NodeId parse_filters(NodeId node);
  NodeId parse_subscript(NodeId node);
  NodeId parse_subscribed();
  NodeId parse_call(NodeId callee);
  NodeId parse_filter(NodeId node, bool inline_start);
  NodeId parse_test(NodeId node);
  CallArguments call_arguments();
  NodeId number_constant();
  NodeId parse_list();
  NodeId parse_dict();
  NodeId name_node();
  struct TupleOptions {
    bool with_conditional = true;
    bool parentheses = false;
    std::string_view end_name = {};  // a name that ends the tuple: recursive
  };
  NodeId parse_tuple(TupleOptions options);
  bool tuple_ends(std::string_view end_name) const;
  template <class Next>
  NodeId arithmetic(Names operators, Next next);

  NodeId target(std::string_view end_name, bool with_namespace);
  NodeId target_item(bool with_namespace);

  // A guard on the recursion of the parser itself.
  struct Nested {
    explicit Nested(Parser& parser);
    ~Nested() { --parser.depth_; }
    Nested(const Nested&) = delete;
    Parser& parser;
  };

  std::vector<Token> tokens_;
  std::string name_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;  // that break and continue may leave
  std::vector<MacroUses> uses_;
  Ast ast_;
};

}  // namespace conclave::text::jinja
