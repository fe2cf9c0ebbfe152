#include "io/json_tree.h"

#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "io/json_sax.h"

namespace conclave::io {

class JsonTree::Builder final : public JsonEvents {
 public:
  explicit Builder(std::vector<Node>& nodes) : nodes_(nodes) {}

  bool null() override { return put(Type::kNull, "null"); }
  bool boolean(bool value) override { return put(Type::kBoolean, value ? "true" : "false"); }
  bool number_integer(std::int64_t value) override {
    return put(Type::kInteger, std::to_string(value));
  }
  bool number_unsigned(std::uint64_t value) override {
    return put(Type::kInteger, std::to_string(value));
  }
  bool number_float(double, const std::string& spelled) override {
    return put(Type::kNumber, spelled);
  }
  bool string(std::string& value) override { return put(Type::kString, std::move(value)); }
  bool on_start(bool is_object) override {
    put(is_object ? Type::kObject : Type::kArray, "");
    open_.push_back(static_cast<int>(nodes_.size()) - 1);
    keys_.emplace_back();
    return true;
  }
  bool on_end() override {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }
  bool key(std::string& name) override {
    if (!keys_.back().insert(name).second) {
      return refuse(fmt::format("key '{}' occurs twice in one object", name.substr(0, 100)));
    }
    key_ = std::move(name);
    return true;
  }

 private:
  bool put(Type type, std::string text) {
    const int node = static_cast<int>(nodes_.size());
    nodes_.push_back({.type = type, .key = std::exchange(key_, {}), .text = std::move(text)});
    if (open_.empty()) return true;
    Node& parent = nodes_[static_cast<std::size_t>(open_.back())];
    if (parent.first == kNone) {
      parent.first = node;
    } else {
      nodes_[static_cast<std::size_t>(parent.last)].next = node;
    }
    parent.last = node;
    ++parent.count;
    return true;
  }

  std::vector<Node>& nodes_;
  std::vector<int> open_;
  std::vector<std::unordered_set<std::string>> keys_;
  std::string key_;
};

JsonTree JsonTree::parse(std::string_view text, const std::string& file_name,
                         const JsonLimits& limits) {
  JsonTree tree;
  Builder builder(tree.nodes_);
  parse_json_events(text, file_name, limits, builder);
  return tree;
}

std::vector<int> JsonTree::children(int node) const {
  std::vector<int> list;
  for (int child = first_child(node); child != kNone; child = next_sibling(child)) {
    list.push_back(child);
  }
  return list;
}

int JsonTree::find(int node, std::string_view key) const {
  if (!is_object(node)) return kNone;
  int child = first_child(node);
  while (child != kNone && this->key(child) != key) child = next_sibling(child);
  return child;
}

std::string JsonTree::dump(int node) const {
  std::string out;
  std::vector<int> open;  // containers around what comes next
  for (int at = node; at != kNone;) {
    if (!open.empty() && is_object(open.back())) out += json_quote(key(at)) + ":";
    const Type kind = type(at);
    if (kind == Type::kObject || kind == Type::kArray) {
      out += kind == Type::kObject ? '{' : '[';
      open.push_back(at);
      if (first_child(at) != kNone) {
        at = first_child(at);
        continue;
      }
      out += kind == Type::kObject ? '}' : ']';
      open.pop_back();
    } else {
      out += kind == Type::kString ? json_quote(text(at)) : text(at);
    }
    while (!open.empty() && next_sibling(at) == kNone) {
      at = open.back();
      open.pop_back();
      out += is_object(at) ? '}' : ']';
    }
    if (open.empty()) break;
    out += ',';
    at = next_sibling(at);
  }
  return out;
}

}  // namespace conclave::io
