// mesh-check FILE [OTHER]: see check.h, or mesh-check --help.

#include <iostream>
#include <string>
#include <vector>

#include "mesh/check/check.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return mesh::check::Check(arguments, std::cout, std::cerr);
}
