#ifndef MESH_CONFIG_CHECKS_H_
#define MESH_CONFIG_CHECKS_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "mesh/config/builder.h"
#include "mesh/config/problems.h"
#include "mesh/config/reader.h"
#include "mesh/config/text.h"

// What the parts of a build have in common: they say what is wrong with which
// field, and where that stands.

namespace mesh::config {

// Printable ASCII without spaces.
bool IsGraphic(absl::string_view text);

// What is wrong with the key of `methods`; empty when nothing is.
std::string MethodPatternError(absl::string_view pattern);

class Checks {
 public:
  // `context` outlives this object.
  explicit Checks(BuildContext* context)
      : context_(*context),
        sources_(context->sources),
        problems_(context->problems) {}

 protected:
  template <typename... Parts>
  void Add(Position at, const Parts&... parts) {
    problems_.Add(at, absl::StrCat(parts...));
  }
  template <typename... Parts>
  void Warn(Position at, const Parts&... parts) {
    context_.warnings.Add(at, absl::StrCat(parts...));
  }

  // Reports an authority that no request could carry.
  void CheckAuthority(const std::string& authority, const std::string& path);

  // Reports a field that is given without the one that it is of use with.
  void Needs(const google::protobuf::Message& message, const std::string& path,
             const char* field, const char* needed);

  static std::string Text(absl::Duration value) {
    return DurationToText(value);
  }
  static std::string Text(int value) { return absl::StrCat(value); }

  // Reports a lower bound above its upper one, where one of them is given.
  // `where` is the end of the message.
  template <typename T>
  void CheckOrder(T low, const std::string& low_path, T high,
                  const std::string& high_path, absl::string_view where = "") {
    if (low <= high || sources_.IsBad(low_path) || sources_.IsBad(high_path)) {
      return;
    }
    const Position at = sources_.Has(low_path) ? sources_.Find(low_path)
                                               : sources_.Find(high_path);
    const absl::string_view name =
        absl::string_view(high_path).substr(high_path.rfind('.') + 1);
    Add(at, low_path, " must be at most ", name, ", ", Text(high), ", but is ",
        Text(low), where);
  }

  BuildContext& context_;
  SourceMap& sources_;
  Problems& problems_;
};

}  // namespace mesh::config

#endif  // MESH_CONFIG_CHECKS_H_
