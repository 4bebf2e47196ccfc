using Ingot.Linux;
using Ingot.Rings.Memory;
using Ingot.Virtio.Memory;

namespace Ingot.Rings.Lab;

/// <summary>The memory file of a run: the control block, then a window for each queue pair.</summary>
internal sealed unsafe class LabMemory : IDisposable
{
    private readonly SharedMapping _mapping;
    private readonly FileDescriptor? _file;
    private readonly LabSettings _settings;

    private LabMemory(FileDescriptor? file, SharedMapping mapping, LabSettings settings)
    {
        _file = file;
        _mapping = mapping;
        _settings = settings;
    }

    public FileDescriptor File => _file!;

    public ControlBlock Control => new(Window.Slice(0, ControlBlock.Size));

    private SharedWindow Window => new(_mapping.Pointer, _mapping.Length);

    public static LabMemory Create(LabSettings settings)
    {
        FileDescriptor file = SharedMapping.CreateFile("ingot-rings", LengthOf(settings));
        return new LabMemory(file, Map(file, settings), settings);
    }

    /// <summary>Maps what another process has made.</summary>
    public static LabMemory Open(FileDescriptor file, LabSettings settings) => new(null, Map(file, settings), settings);

    public DriverRing[] CreateDrivers()
        => [.. Enumerable.Range(0, _settings.Queues).Select(i => _settings.Design.CreateDriver(WindowOf(i), _settings.Geometry))];

    public DeviceRing[] CreateDevices()
        => [.. Enumerable.Range(0, _settings.Queues).Select(i => _settings.Design.CreateDevice(WindowOf(i), _settings.Geometry))];

    public void Dispose()
    {
        _mapping.Release();
        _file?.Dispose();
    }

    private static long LengthOf(LabSettings settings) => ControlBlock.Size + (settings.Queues * settings.PairBytes);

    private static SharedMapping Map(FileDescriptor file, LabSettings settings) => SharedMapping.Map(file, 0, (ulong)LengthOf(settings), "the lab's memory");

    private SharedWindow WindowOf(int pair) => Window.Slice(ControlBlock.Size + (pair * _settings.PairBytes), _settings.PairBytes);
}
