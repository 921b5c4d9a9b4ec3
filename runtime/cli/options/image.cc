#include "runtime/cli/options/image.h"

#include "runtime/cli/options/shared.h"

namespace hmvm {
namespace {

// The same under two names.
void AddList(CommandGroup& commands, const CommandText& text) {
  auto images = commands.Add<ImagesOptions>(text);
  images.Flag("-q,--quiet", images->quiet, "Ids only");
  AddFormat(images, images->json);
}

void AddImport(CommandGroup& group) {
  auto import = group.Add<ImageImportOptions>(
      {.name = "import",
       .description = "Take an image from an OCI layout, an OCI archive or a docker save archive",
       .usage = "image import [OPTIONS] PATH",
       .examples = "  hmvm image import ./layout --name busybox\n"
                   "  docker save alpine | gzip > alpine.tar.gz; hmvm image import alpine.tar.gz"});
  import.Option("--name", import->name, "Name of the image (default: the one it carries)");
  import.Word("PATH", import->path, "Directory or archive; archives may be compressed");
}

void AddRemove(CommandGroup& group) {
  auto rm = group.Add<ImageRmOptions>({.name = "rm",
                                       .description = "Remove images",
                                       .usage = "image rm IMAGE...",
                                       .examples = "  hmvm image rm busybox"});
  rm.Words("IMAGE", rm->images, "Names or ids");
}

}  // namespace

void AddImages(CommandGroup& commands) {
  AddList(commands, {.name = "images",
                     .description = "List images",
                     .usage = "images [OPTIONS]",
                     .examples = "  hmvm images\n"
                                 "  hmvm images --format json"});
}

void AddImage(CommandGroup& commands) {
  CommandGroup group = commands.AddGroup("image", "Import, list and remove images",
                                         "  hmvm image import ./layout --name busybox\n"
                                         "  hmvm image ls");
  AddImport(group);
  AddRemove(group);
  AddList(group, {.name = "ls",
                  .description = "List images",
                  .usage = "image ls [OPTIONS]",
                  .examples = "  hmvm image ls\n"
                              "  hmvm image ls --format json"});
}

}  // namespace hmvm
