// Grammars, JSON schemas and patterns as bytes: an error or a grammar whose start can be followed.
#include "base/error.h"
#include "infer/grammar/gbnf.h"
#include "infer/grammar/machine.h"
#include "infer/grammar/schema.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  using namespace conclave::infer::grammar;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const bool schema = text.starts_with('{');
  try {
    Builder builder;
    RuleId root = 0;
    if (schema) {
      const auto tree = io::JsonTree::parse(text, "fuzz", {.max_depth = 64});
      JsonParts parts(builder);
      root = builder.add_rule("root");
      builder.define(root, compile_schema(tree, io::JsonTree::kRoot, parts));
    } else {
      root = parse_gbnf(text, builder);
    }
    const Program program(builder, root);
    Machine machine(program);
    // What is not trimmed away can be completed: some byte goes on where the text may not end.
    Machine::ConfigId at = machine.start();
    for (int i = 0; i < 64 && !machine.must_end(at); ++i) {
      Machine::ConfigId next = Machine::kDead;
      for (int byte = 0; byte < 256 && next == Machine::kDead; ++byte) {
        next = machine.step(at, static_cast<unsigned char>((byte + i * 37) % 256));
      }
      if (next == Machine::kDead) __builtin_trap();
      at = next;
    }
  } catch (const Error&) {
  }
  return 0;
}
