#ifndef MESH_CONFIG_DOCUMENT_H_
#define MESH_CONFIG_DOCUMENT_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mesh/config/problems.h"

// YAML and JSON texts as one kind of tree that remembers where each value
// stands. It knows nothing of the schema.

namespace mesh::config {

struct Node;
using NodePtr = std::shared_ptr<const Node>;

// A value in a document. Immutable once parsed; an alias shares the value that
// it stands for.
struct Node {
  enum class Kind { kNull, kBool, kInteger, kNumber, kString, kList, kMap };
  struct Entry {
    std::string key;
    Position key_at;
    NodePtr value;  // Never null.
  };

  Kind kind = Kind::kNull;
  Position at;       // A null that is not written is at its key or list.
  std::string text;  // A scalar as written, without quotes.
  std::vector<NodePtr> items;  // What a list holds. Never null.
  std::vector<Entry> entries;  // A map's, in order. Keys may repeat.
  size_t size = 1;    // Values in it, itself too; aliases count each time.
  size_t height = 1;  // Levels in it, itself too.
};

// Limits of a document, far above what a configuration needs. They keep a
// hostile text (deep nesting, aliases of aliases) from using up the stack, the
// memory or the time.
inline constexpr size_t kMaxDocumentDepth = 64;
inline constexpr size_t kMaxDocumentNodes = 1000000;

// Parses one document: JSON if `name` ends in ".json" or the text begins as a
// JSON object with a member does (`{"`), otherwise YAML 1.2 (core schema, with
// merge keys). The first syntax error is added to `problems` and null is
// returned. Never throws.
NodePtr ParseDocument(absl::string_view text, absl::string_view name,
                      Problems* problems);

// As above, JSON (RFC 8259) whatever the text looks like.
NodePtr ParseJson(absl::string_view text, Problems* problems);

// What a node is, for messages: `the string "abc"`, `3`, `a list`, `empty`.
std::string Describe(const Node& node);

}  // namespace mesh::config

#endif  // MESH_CONFIG_DOCUMENT_H_
