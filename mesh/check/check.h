#ifndef MESH_CHECK_CHECK_H_
#define MESH_CHECK_CHECK_H_

#include <ostream>
#include <string>
#include <vector>

namespace mesh::check {

// What the program mesh-check does with its `arguments` (without its own name).
// Results go to `out`, problems to `err`. Returns the exit code: 0, 1 for a
// configuration that is wrong or cannot be read, or where `out` cannot be
// written, 2 for arguments that are wrong.
int Check(const std::vector<std::string>& arguments, std::ostream& out,
          std::ostream& err);

}  // namespace mesh::check

#endif  // MESH_CHECK_CHECK_H_
