#include "infer/grammar/schema.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "infer/grammar/schema_compiler.h"

namespace conclave::infer::grammar {

namespace {

// Keywords that say nothing about which values are valid, or that are read elsewhere.
constexpr std::array kAnnotations = {
    "title",    "description",      "default",         "examples", "example", "deprecated",
    "readOnly", "writeOnly",        "$comment",        "$schema",  "$defs",   "definitions",
    "$anchor",  "contentMediaType", "contentEncoding", "strict"};
constexpr std::array kKnown = {
    "type",    "enum",        "const",    "properties", "required",         "additionalProperties",
    "items",   "prefixItems", "minItems", "maxItems",   "minLength",        "maxLength",
    "pattern", "format",      "minimum",  "maximum",    "exclusiveMinimum", "exclusiveMaximum",
    "anyOf",   "oneOf"};

template <class List>
bool in(const List& list, const std::string& key) {
  return std::any_of(list.begin(), list.end(), [&](const char* known) { return key == known; });
}

}  // namespace

ExprId compile_schema(const io::JsonTree& tree, int node, JsonParts& parts,
                      const SchemaLimits& limits) {
  parts.builder().set_of_schema();
  return SchemaCompiler(tree, node, parts, limits).compile();
}

bool SchemaCompiler::Keywords::has_any(std::initializer_list<const char*> keys) const {
  return std::any_of(keys.begin(), keys.end(), [this](const char* key) { return has(key); });
}

SchemaCompiler::SchemaCompiler(const Tree& tree, int root, JsonParts& parts,
                               const SchemaLimits& limits)
    : tree_(tree), root_(root), parts_(parts), b_(parts.builder()), limits_(limits) {
  parents_.assign(static_cast<std::size_t>(tree.nodes()), Tree::kNone);
  for (int node = 0; node < tree.nodes(); ++node) {
    for (int c = tree.first_child(node); c != Tree::kNone; c = tree.next_sibling(c)) {
      parents_[static_cast<std::size_t>(c)] = node;
    }
  }
}

ExprId SchemaCompiler::compile() {
  const ExprId start = rule_of({{root_, false}});
  while (!queue_.empty()) {
    const auto [view, rule] = std::move(queue_.front());
    queue_.pop_front();
    b_.define(rule, body(view));
  }
  return start;
}

std::string SchemaCompiler::place(int node) const {
  std::vector<std::string> steps;
  for (int at = node; at != root_ && at != Tree::kNone;) {
    const int parent = parents_[static_cast<std::size_t>(at)];
    if (parent == Tree::kNone) break;
    if (tree_.is_object(parent)) {
      steps.push_back(tree_.key(at).substr(0, 60));
    } else {
      int index = 0;
      for (int c = tree_.first_child(parent); c != at; c = tree_.next_sibling(c)) ++index;
      steps.push_back(std::to_string(index));
    }
    at = parent;
  }
  std::string path = "#";
  for (std::size_t i = steps.size(); i-- > 0;) path += "/" + steps[i];
  return path.size() > 200 ? path.substr(0, 200) + "..." : path;
}

void SchemaCompiler::refuse(int node, const std::string& keyword, const std::string& what) const {
  fail(ErrorKind::kInvalidArgument, "JSON schema {}: '{}': {}", place(node), keyword.substr(0, 60),
       what);
}

ExprId SchemaCompiler::rule_of(View view) {
  std::sort(view.begin(), view.end());
  view.erase(std::unique(view.begin(), view.end()), view.end());
  const auto [known, is_new] = rules_.try_emplace(view, -1);
  if (is_new) {
    if (rules_.size() > static_cast<std::size_t>(limits_.rules)) {
      fail(ErrorKind::kInvalidArgument, "the JSON schema is too large: more than {} rules",
           limits_.rules);
    }
    known->second = b_.add_rule(place(view[0].node));
    queue_.emplace_back(std::move(view), known->second);
  }
  return b_.call(known->second);
}

// "#", "#/a/b", with ~0, ~1 and %XX.
int SchemaCompiler::resolve(int reference) const {
  const auto wrong = [&](const std::string& what) { refuse(reference, "$ref", what); };
  if (!tree_.is_string(reference)) wrong("expected a string");
  const std::string& text = tree_.text(reference);
  if (!text.starts_with('#')) wrong("only references within the schema (#...) are supported");
  int at = root_;
  std::size_t i = 1;
  if (i < text.size() && text[i] != '/') wrong("anchors are not supported, only paths (#/...)");
  while (i < text.size()) {
    std::string step;
    for (++i; i < text.size() && text[i] != '/'; ++i) {
      if (text[i] == '~' && i + 1 < text.size() && (text[i + 1] == '0' || text[i + 1] == '1')) {
        step += text[++i] == '0' ? '~' : '/';
      } else if (text[i] == '%' && i + 2 < text.size()) {
        step += static_cast<char>(std::strtol(text.substr(i + 1, 2).c_str(), nullptr, 16));
        i += 2;
      } else {
        step += text[i];
      }
    }
    if (tree_.is_array(at)) {
      const std::vector<int> items = tree_.children(at);
      const auto index = step.empty() || step.size() > 6
                             ? items.size()
                             : static_cast<std::size_t>(std::atoi(step.c_str()));
      at = index < items.size() ? items[index] : Tree::kNone;
    } else {
      at = tree_.find(at, step);
    }
    if (at == Tree::kNone) wrong("leads to nothing: " + text.substr(0, 100));
  }
  return at;
}

void SchemaCompiler::add_keywords(int node, Keywords& k, std::vector<Part>& work) {
  for (int c = tree_.first_child(node); c != Tree::kNone; c = tree_.next_sibling(c)) {
    const std::string& key = tree_.key(c);
    if (in(kAnnotations, key) || key.starts_with("x-")) continue;
    if (key == "$id" && node == root_) continue;
    if (key == "uniqueItems" && tree_.text(c) == "false") continue;
    if (key == "$ref") {
      work.push_back({resolve(c), false});
    } else if (key == "allOf") {
      if (!tree_.is_array(c)) refuse(c, key, "expected a list of schemas");
      for (const int part : tree_.children(c)) work.push_back({part, false});
    } else if (in(kKnown, key)) {
      k.values[key].push_back(c);
    } else {
      refuse(c, key, "this keyword is not supported");
    }
  }
}

SchemaCompiler::Keywords SchemaCompiler::keywords_of(const View& view) {
  Keywords k;
  std::vector<Part> work(view.begin(), view.end());
  std::set<int> seen;
  std::set<int> decided;
  for (const Part& part : view) {
    if (part.decided) decided.insert(part.node);
  }
  while (!work.empty()) {
    const Part part = work.back();
    work.pop_back();
    if (!seen.insert(part.node).second) continue;
    if (static_cast<int>(seen.size()) > limits_.merged) {
      refuse(part.node, "allOf", fmt::format("more than {} schemas for one value", limits_.merged));
    }
    if (tree_.type(part.node) == Tree::Type::kBoolean) {
      k.never = k.never || !tree_.boolean(part.node);
      continue;
    }
    if (!tree_.is_object(part.node))
      refuse(part.node, "schema", "expected an object, true or false");
    k.parts.push_back({part.node, decided.contains(part.node)});
    add_keywords(part.node, k, work);
  }
  // Parts in the order of the document, as properties are written in that order.
  std::sort(k.parts.begin(), k.parts.end());
  for (auto& [key, list] : k.values) std::sort(list.begin(), list.end());
  for (const char* key : {"anyOf", "oneOf"}) {
    const auto found = k.values.find(key);
    if (found == k.values.end()) continue;
    std::erase_if(found->second, [&](int list) {
      return decided.contains(parents_[static_cast<std::size_t>(list)]);
    });
    if (found->second.empty()) k.values.erase(found);
  }
  return k;
}

ExprId SchemaCompiler::body(const View& view) {
  const Keywords k = keywords_of(view);
  if (k.never) return b_.alt({});
  if (const auto made = choices(k)) return *made;
  if (const auto made = values(k)) return *made;
  const std::set<std::string> types = types_of(k);
  std::vector<ExprId> made;
  for (const std::string& type : types) {
    if (type == "object") made.push_back(object(k));
    if (type == "array") made.push_back(array(k));
    if (type == "string") made.push_back(string(k));
    if (type == "integer" && !types.contains("number")) made.push_back(number(k, true));
    if (type == "number") made.push_back(number(k, false));
    if (type == "boolean") made.push_back(b_.alt({b_.bytes("true"), b_.bytes("false")}));
    if (type == "null") made.push_back(b_.bytes("null"));
  }
  return b_.alt(std::move(made));
}

// One anyOf or oneOf is decided at a time; what is left of the others is in the choices' views.
std::optional<ExprId> SchemaCompiler::choices(const Keywords& k) {
  for (const char* key : {"anyOf", "oneOf"}) {
    const auto found = k.values.find(key);
    if (found == k.values.end()) continue;
    const int list = found->second[0];
    if (!tree_.is_array(list) || tree_.size(list) == 0) {
      refuse(list, key, "expected a list of schemas");
    }
    const int owner = parents_[static_cast<std::size_t>(list)];
    if (tree_.find(owner, "anyOf") != Tree::kNone && tree_.find(owner, "oneOf") != Tree::kNone) {
      refuse(list, key, "anyOf and oneOf in one schema are not supported");
    }
    if (key == std::string_view("oneOf")) check_exclusive(list);
    View base = k.parts;
    for (Part& part : base) part.decided = part.decided || part.node == owner;
    std::vector<ExprId> made;
    for (const int choice : tree_.children(list)) {
      for (const Part& part : keywords_of({{choice, false}}).parts) {
        const auto again = std::find(base.begin(), base.end(), Part{part.node, true});
        if (again != base.end())
          refuse(choice, key, "a choice refers to the schema that it is one of");
      }
      View view = base;
      view.push_back({choice, false});
      made.push_back(rule_of(std::move(view)));
    }
    return b_.alt(std::move(made));
  }
  return std::nullopt;
}

void SchemaCompiler::check_exclusive(int list) {
  const std::vector<int> all = tree_.children(list);
  if (all.size() > 64) refuse(list, "oneOf", "more than 64 choices");
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = i + 1; j < all.size(); ++j) {
      if (exclusive(all[i], all[j])) continue;
      refuse(list, "oneOf",
             fmt::format("choices {} and {} do not exclude one another at sight (by type, const, "
                         "enum, or such a required property); use anyOf",
                         i, j));
    }
  }
}

// The values of const or enum, each written in one way; none where there are lists or objects.
std::set<std::string> SchemaCompiler::plain_values(const Keywords& k) const {
  std::set<std::string> values;
  for (const char* key : {"const", "enum"}) {
    const auto found = k.values.find(key);
    if (found == k.values.end()) continue;
    const int node = found->second[0];
    for (const int v :
         key == std::string_view("const") ? std::vector{node} : tree_.children(node)) {
      if (tree_.is_object(v) || tree_.is_array(v)) return {};
      const bool number =
          tree_.type(v) == Tree::Type::kInteger || tree_.type(v) == Tree::Type::kNumber;
      values.insert(number ? fmt::format("{}", std::strtod(tree_.text(v).c_str(), nullptr))
                           : tree_.dump(v));
    }
    break;
  }
  return values;
}

// Whether no value fits both: by type, by enum or const, or by a required property's enum or const.
bool SchemaCompiler::exclusive(int a, int b) {
  const Keywords first = keywords_of({{a, false}}), second = keywords_of({{b, false}});
  if (first.never || second.never) return true;
  const auto disjoint = [](const auto& x, const auto& y) {
    return std::none_of(x.begin(), x.end(), [&](const auto& item) { return y.contains(item); });
  };
  auto types = named_types(first);
  const auto other_types = named_types(second);
  if (types.contains("number")) types.insert("integer");
  if (types.contains("integer") && other_types.contains("number")) types.insert("number");
  if (!types.empty() && !other_types.empty() && disjoint(types, other_types)) return true;
  const auto x = plain_values(first), y = plain_values(second);
  if (!x.empty() && !y.empty() && disjoint(x, y)) return true;
  const auto tags_of = [&](const Keywords& k) {
    std::map<std::string, std::set<std::string>> tags;
    std::set<std::string> required;
    const auto list = k.values.find("required");
    if (list != k.values.end()) {
      for (const int names : list->second) {
        for (const int name : tree_.children(names)) required.insert(tree_.text(name));
      }
    }
    const auto found = k.values.find("properties");
    if (found == k.values.end() || !named_types(k).contains("object")) return tags;
    for (const int properties : found->second) {
      for (const int p : tree_.children(properties)) {
        const bool counts = required.contains(tree_.key(p)) && tree_.is_object(p);
        if (counts) tags[tree_.key(p)] = plain_values(keywords_of({{p, false}}));
      }
    }
    return tags;
  };
  const auto mine = tags_of(first), others = tags_of(second);
  return std::any_of(mine.begin(), mine.end(), [&](const auto& tag) {
    const auto other = others.find(tag.first);
    return other != others.end() && !tag.second.empty() && !other->second.empty() &&
           disjoint(tag.second, other->second);
  });
}

}  // namespace conclave::infer::grammar
