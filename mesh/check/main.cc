// mesh-check FILE [OTHER]: see check.h, or mesh-check --help.

#include <iostream>
#include <string>
#include <vector>

#include "mesh/check/check.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const int code = mesh::check::Check(arguments, std::cout, std::cerr);
  // Nobody must take half of an answer for all of it.
  return std::cout.flush() ? code : 1;
}
