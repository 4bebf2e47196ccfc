using Ingot.Linux;
using Ingot.Rings.Memory;
using Xunit;

namespace Ingot.Tests.Rings;

/// <summary>Shared memory between two pages that may not be touched: an access outside ends the test run.</summary>
internal sealed unsafe class GuardedWindow : IDisposable
{
    private const int Page = 4096;
    private readonly byte* _reserved;
    private readonly long _length;

    public GuardedWindow(long bytes)
    {
        _length = (bytes + Page - 1) & -Page;
        _reserved = (byte*)Libc.mmap(null, (nuint)(_length + (2 * Page)), Libc.PROT_NONE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        Assert.NotEqual(-1, (nint)_reserved);
        Assert.Equal(0, Libc.mprotect(_reserved + Page, (nuint)_length, Libc.PROT_READ | Libc.PROT_WRITE));
        Window = new SharedWindow(_reserved + Page, _length);
    }

    public SharedWindow Window { get; }

    public void Dispose() => _ = Libc.munmap(_reserved, (nuint)(_length + (2 * Page)));
}
