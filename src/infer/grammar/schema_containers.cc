// Objects and lists of a schema.

#include <algorithm>

#include "base/error.h"
#include "infer/grammar/schema_compiler.h"

namespace conclave::infer::grammar {

struct SchemaCompiler::Names {
  struct Member {
    std::string name;
    ExprId value = -1;
    bool required = false;
  };
  std::vector<Member> members;   // in order
  std::optional<ExprId> others;  // what other members may be, where there may be any
};

SchemaCompiler::Names SchemaCompiler::names_of(const Keywords& k) {
  Names names;
  std::map<std::string, std::size_t> places;
  std::map<std::string, View> views;
  std::vector<std::string> order;
  int closed_parts = 0, open_parts = 0;
  std::vector<int> others;  // schemas of additional properties
  std::set<std::string> forbidden;
  for (const Part& part : k.parts) {
    const int properties = tree_.find(part.node, "properties");
    if (properties == Tree::kNone) continue;
    if (!tree_.is_object(properties)) refuse(properties, "properties", "expected an object");
    for (const int p : tree_.children(properties)) {
      View& view = views[tree_.key(p)];
      if (view.empty()) order.push_back(tree_.key(p));
      view.push_back({p, false});
    }
  }
  for (const Part& part : k.parts) {
    const int additional = tree_.find(part.node, "additionalProperties");
    if (additional == Tree::kNone) continue;
    const int properties = tree_.find(part.node, "properties");
    const bool all_here = properties == Tree::kNone
                              ? views.empty()
                              : static_cast<std::size_t>(tree_.size(properties)) == views.size();
    if (tree_.type(additional) == Tree::Type::kBoolean) {
      (tree_.boolean(additional) ? open_parts : closed_parts) += 1;
      if (tree_.boolean(additional)) continue;
      for (const std::string& name : order) {
        if (properties == Tree::kNone || tree_.find(properties, name) == Tree::kNone)
          forbidden.insert(name);
      }
    } else if (!all_here) {
      refuse(additional, "additionalProperties",
             "a schema is not supported here beside other parts "
             "of allOf, anyOf or $ref that have properties");
    } else {
      others.push_back(additional);
    }
  }
  for (const std::string& name : order) {
    places[name] = names.members.size();
    names.members.push_back(
        {name, forbidden.contains(name) ? b_.alt({}) : rule_of(views[name]), false});
  }
  if (closed_parts == 0 && !others.empty()) {
    View view;
    for (const int schema : others) view.push_back({schema, false});
    names.others = rule_of(std::move(view));
  } else if (closed_parts == 0 && (open_parts > 0 || order.empty())) {
    names.others = parts_.any_value();
  }
  const auto required = k.values.find("required");
  if (required == k.values.end()) return names;
  for (const int list : required->second) {
    if (!tree_.is_array(list)) refuse(list, "required", "expected a list of names");
    for (const int name : tree_.children(list)) {
      if (!tree_.is_string(name)) refuse(list, "required", "expected a list of names");
      const auto [place, is_new] = places.try_emplace(tree_.text(name), names.members.size());
      if (is_new) {
        // Without a schema of its own: whatever additional properties may be.
        const ExprId value =
            closed_parts > 0 ? b_.alt({}) : names.others.value_or(parts_.any_value());
        names.members.push_back({tree_.text(name), value, false});
      }
      names.members[place->second].required = true;
    }
  }
  return names;
}

// Members in order, those that are not required may be left out: a rule for what may follow each,
// once with a member before it (which wants a comma) and once without.
ExprId SchemaCompiler::members(const Names& names) {
  const std::size_t n = names.members.size();
  ExprId after = b_.bytes(""), first = b_.bytes("");
  if (names.others) {
    std::vector<std::string> taken;
    for (const Names::Member& m : names.members) taken.push_back(m.name);
    const ExprId pair =
        b_.seq({parts_.other_name(taken), b_.bytes(":"), parts_.space(), *names.others});
    after = b_.repeat(parts_.next(pair), 0, -1);
    first = b_.optional(b_.seq({pair, after, parts_.space()}));
  }
  after = b_.rule("members", after);
  first = b_.rule("members", first);
  for (std::size_t i = n; i-- > 0;) {
    const Names::Member& m = names.members[i];
    const ExprId pair = parts_.member(m.name, m.value);
    ExprId begins = b_.seq({pair, after, parts_.space()});
    ExprId follows = b_.seq({parts_.next(pair), after});
    if (!m.required) {
      begins = b_.alt({begins, first});
      follows = b_.alt({follows, after});
    }
    after = b_.rule("members", follows);
    first = b_.rule("members", begins);
  }
  return first;
}

ExprId SchemaCompiler::object(const Keywords& k) {
  const Names names = names_of(k);
  if (names.members.empty() && names.others) {
    const ExprId name = parts_.string(0, -1);
    const ExprId pair = b_.seq({name, b_.bytes(":"), parts_.space(), *names.others});
    return parts_.object(b_.seq({pair, b_.repeat(parts_.next(pair), 0, -1)}), true);
  }
  return b_.seq({b_.bytes("{"), parts_.space(), members(names), b_.bytes("}")});
}

ExprId SchemaCompiler::array(const Keywords& k) {
  const std::int64_t min = count_of(k, "minItems", true, 0);
  const std::int64_t max = count_of(k, "maxItems", false, -1);
  if (max >= 0 && max < min) return b_.alt({});
  View items;
  std::vector<int> prefix;
  if (const auto found = k.values.find("items"); found != k.values.end()) {
    for (const int node : found->second) {
      if (tree_.is_array(node)) refuse(node, "items", "a list is not supported; use prefixItems");
      items.push_back({node, false});
    }
  }
  if (const auto found = k.values.find("prefixItems"); found != k.values.end()) {
    if (found->second.size() > 1 || (items.size() > 1)) {
      refuse(found->second[0], "prefixItems", "together with another one this is not supported");
    }
    if (!tree_.is_array(found->second[0])) {
      refuse(found->second[0], "prefixItems", "expected a list of schemas");
    }
    prefix = tree_.children(found->second[0]);
  }
  const auto n = static_cast<std::int64_t>(prefix.size());
  const ExprId item = items.empty() ? parts_.any_value() : rule_of(items);
  const auto at_most = [&](std::int64_t count) {
    return max < 0 ? -1 : static_cast<int>(std::max<std::int64_t>(max - count, 0));
  };
  const auto at_least = [&](std::int64_t count) {
    return static_cast<int>(std::max<std::int64_t>(min - count, 0));
  };
  const auto element = [&](std::int64_t i) {
    return i < n ? rule_of({{prefix[static_cast<std::size_t>(i)], false}}) : item;
  };
  if (max == 0) return b_.seq({b_.bytes("["), parts_.space(), b_.bytes("]")});
  // What follows the prefix, then what follows each of its elements.
  const std::int64_t known = std::max<std::int64_t>(n, 1);
  ExprId rest = b_.repeat(parts_.next(item), at_least(known), at_most(known));
  for (std::int64_t i = n - 1; i > 0; --i) {
    ExprId more = b_.seq({parts_.next(element(i)), rest});
    if (max >= 0 && i >= max)
      more = b_.bytes("");
    else if (i >= min)
      more = b_.optional(more);
    rest = b_.rule("items", more);
  }
  return parts_.list(element(0), rest, min == 0);
}

}  // namespace conclave::infer::grammar
