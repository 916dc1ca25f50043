#ifndef MESH_TESTS_ATTACKS_KEY_BYTES_H_
#define MESH_TESTS_ATTACKS_KEY_BYTES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "mesh/base/mutex.h"

// Looks for private keys in what a test has read: logs, errors, pages, metrics.

namespace mesh::test {

// Finds the secret part of one private key, whole or in part: 16 bytes of it in
// a row are found anywhere, as they are, in hex, or in base64. PEM is base64.
// Line breaks, blanks, colons and "\n" in a text do not hide it. A value; any
// number of threads may ask it.
class KeyBytes {
 public:
  // `pem`: a private key, not encrypted. Ends the process if it is none.
  explicit KeyBytes(absl::string_view pem);

  // How `text` has bytes of the key: "raw", "hex" or "base64". Empty: it has
  // none.
  std::string FoundIn(absl::string_view text) const;

 private:
  std::vector<std::string> raw_;
  std::vector<std::string> hex_;  // Lower case.
  std::vector<std::string> base64_;
};

// What the tests of a process have read, and whose keys must not be in it.
// Thread-safe.
class Outputs {
 public:
  // Those of this process. They live as long as it does.
  static Outputs& OfProcess();

  void AddKey(absl::string_view pem);
  void Add(absl::string_view text);

  size_t size() const;  // How many texts there are.
  // A line for each text that has bytes of a key. The key is not in it.
  std::vector<std::string> Leaks() const;

 private:
  mutable base::Mutex mu_;
  std::vector<KeyBytes> keys_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> texts_ ABSL_GUARDED_BY(mu_);
};

// From now on, what gRPC logs is among the outputs of this process. When all
// tests are done, a text with bytes of a key fails them. Called once, before
// the tests run.
void WatchOutputs();

}  // namespace mesh::test

#endif  // MESH_TESTS_ATTACKS_KEY_BYTES_H_
