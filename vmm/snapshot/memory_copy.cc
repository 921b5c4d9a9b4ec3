#include "vmm/snapshot/memory_copy.h"

#include "vmm/snapshot/memory_writer.h"

namespace hmvm {

Result<MemoryRoom> MemoryRoom::Create(const MemoryMap& map) {
  MemoryRoom room;
  HMVM_TRY_ASSIGN(room.mapping_, Mapping::Anonymous(map.total_pages() * kPageBytes));
  uint64_t offset = 0;
  for (const MemoryMap::Area& area : map.areas()) {
    room.areas_.push_back({area.start, room.mapping_.bytes().subspan(offset, area.bytes)});
    offset += area.bytes;
  }
  return room;
}

Result<MemoryMap> SumMemory(const MemoryMap& map, std::span<const MemoryArea> areas) {
  HMVM_TRY_ASSIGN(MemoryWriter writer, MemoryWriter::OnlySums(areas));
  const PageRuns data = map.AllRuns();
  for (const PageRun& run : data.runs()) HMVM_TRY(writer.Write(run));
  MemoryMap whole(areas);
  writer.AddTo(whole);
  return whole;
}

Result<MemoryMap> MergeMemory(const MemoryMap& map, std::span<const MemoryFile> files, int out,
                              const std::string& name) {
  HMVM_TRY(VerifyMemory(map, files));
  HMVM_TRY_ASSIGN(const MemoryRoom room, MemoryRoom::Create(map));
  HMVM_TRY(MapMemory(map, files, room.areas()));
  HMVM_TRY_ASSIGN(MemoryWriter writer, MemoryWriter::Create(room.areas(), out, name));
  const PageRuns data = map.AllRuns();
  for (const PageRun& run : data.runs()) HMVM_TRY(writer.Write(run));
  MemoryMap merged(room.areas());
  writer.AddTo(merged);
  return merged;
}

Result<MemoryMap> UnpackMemory(const Archive& archive, int out, const std::string& name) {
  HMVM_TRY_ASSIGN(const MemoryRoom room, MemoryRoom::Create(archive.memory()));
  HMVM_TRY_ASSIGN(MemoryWriter writer, MemoryWriter::Create(room.areas(), out, name));
  ArchivePages pages;
  for (size_t frame = 0; frame < archive.frames(); ++frame) {
    HMVM_TRY(archive.ReadFrame(frame, pages));
    std::span<const std::byte> bytes = pages.bytes;
    for (const PageRun& run : pages.runs) {
      HMVM_TRY(writer.WriteFrom(bytes.first(run.count * kPageBytes), run.first));
      bytes = bytes.subspan(run.count * kPageBytes);
    }
  }
  MemoryMap unpacked(room.areas());
  writer.AddTo(unpacked);
  if (unpacked.files()[0].id != archive.memory().files()[0].id) {
    return Error{EILSEQ, "'" + name + "' is not what was exported"};
  }
  return unpacked;
}

}  // namespace hmvm
