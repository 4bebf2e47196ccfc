using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Cli;

/// <summary>The memory of one request of the io tool.</summary>
internal sealed class IoData : IDisposable
{
    /// <summary>The most bytes of one request: whole sectors below 2 GiB.</summary>
    public const long MaxLength = int.MaxValue & ~511;

    private const int Misalignment = 16;

    private readonly IoBuffer _buffer;
    private readonly int _start;

    public IoData(IoSession session, long length, byte fill)
    {
        _start = session.Misaligns ? Misalignment : 0;
        _buffer = new IoBuffer((int)Math.Max(1, length + _start));
        Length = (int)length;
        Span.Fill(fill);
    }

    public int Length { get; }

    public IoVector Vector => _buffer.Slice(_start, Length);

    public Span<byte> Span => _buffer.Span.Slice(_start, Length);

    /// <summary>Fills the memory with a file, again and again where it is shorter.</summary>
    public void FillFrom(string fileName)
    {
        byte[] content;
        try
        {
            content = WholeFile.Read(fileName, Math.Max(1, Length));
        }
        catch (FileReadException e)
        {
            throw new IoCommandException(e.Message) { IsAboutFile = true };
        }

        if (content.Length == 0)
        {
            throw new IoCommandException($"{fileName}: file is empty") { IsAboutFile = true };
        }

        for (int at = 0; at < Length; at += content.Length)
        {
            content.AsSpan(0, Math.Min(content.Length, Length - at)).CopyTo(Span[at..]);
        }
    }

    public void Dispose() => _buffer.Dispose();
}
