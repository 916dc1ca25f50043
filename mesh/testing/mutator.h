#ifndef MESH_TESTING_MUTATOR_H_
#define MESH_TESTING_MUTATOR_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mesh/base/random.h"

namespace mesh::testing {

// Makes new inputs for a parser from good and bad ones, by the seed alone.
//
// A parser stops at the first byte that is no text of its language. So most
// changes keep the shape: a piece is dropped, doubled, moved, or replaced by a
// piece of another input. A piece is a word, a quoted text, or a bracket with
// all that it holds. A few changes are to bytes.
class Mutator {
 public:
  explicit Mutator(std::vector<std::string> corpus);

  // The same text for the same `seed`. At most kMaxSize bytes.
  std::string Make(uint64_t seed) const;

  static constexpr size_t kMaxSize = 64 << 10;

 private:
  std::string Changed(std::string text, base::Random& random) const;
  // Any piece of any input; nothing if there is none.
  absl::string_view AnyPiece(base::Random& random) const;

  const std::vector<std::string> corpus_;  // Never empty.
};

// A piece of `text` that begins at `begin`: see Mutator. Empty at the end.
absl::string_view PieceAt(absl::string_view text, size_t begin);

}  // namespace mesh::testing

#endif  // MESH_TESTING_MUTATOR_H_
