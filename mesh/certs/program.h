#ifndef MESH_CERTS_PROGRAM_H_
#define MESH_CERTS_PROGRAM_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mesh::certs {

// What the program mesh-certs does with its `arguments` (without its own name)
// at `now`. Results go to `out`, problems to `err`. Returns the exit code: 0, 1
// for what cannot be done or is found wrong, 2 for arguments that are wrong.
int Run(const std::vector<std::string>& arguments, absl::Time now,
        std::ostream& out, std::ostream& err);

}  // namespace mesh::certs

#endif  // MESH_CERTS_PROGRAM_H_
