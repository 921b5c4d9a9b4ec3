// What containers are made from: images, image import, ls and rm.
#pragma once

#include <string>
#include <vector>

namespace hmvm {

class CommandGroup;

struct ImagesOptions {
  bool quiet = false;
  bool json = false;
};

struct ImageImportOptions {
  std::string name;
  std::string path;
};

struct ImageRmOptions {
  std::vector<std::string> images;
};

void AddImages(CommandGroup& commands);
void AddImage(CommandGroup& commands);

}  // namespace hmvm
