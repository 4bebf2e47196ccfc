using System.Buffers.Binary;
using Ingot.Io;
using static Ingot.Drivers.Qcow2.Qcow2Constants;

namespace Ingot.Drivers.Qcow2;

/// <summary>The header of an open image and which of its fields differ from the file.</summary>
internal sealed class HeaderFields(HostFile file, Qcow2Header header)
{
    /// <summary>The header as it should be.</summary>
    internal Qcow2Header Current { get; private set; } = header;

    /// <summary>True when the place of the refcount table waits for the table to be written.</summary>
    internal bool IsRefcountTableDirty { get; private set; }

    /// <summary>True when the place of the L1 table, or the size, waits for the table to be written.</summary>
    internal bool IsMapDirty { get; private set; }

    /// <summary>The size that the file goes on to say while what a new one shows is not in place; null for the current one.</summary>
    internal long? HeldSize { get; set; }

    internal void MoveRefcountTable(long offset, int clusters)
    {
        Current = Current with { RefcountTableOffset = offset, RefcountTableClusters = clusters };
        IsRefcountTableDirty = true;
    }

    internal void ChangeMap(long l1Offset, int l1Entries, long size)
    {
        Current = Current with { L1Offset = l1Offset, L1Entries = l1Entries, Size = size };
        IsMapDirty = true;
    }

    /// <summary>Takes the fields that name the refcount table, for writing; null when they have not changed.</summary>
    internal byte[]? TakeRefcountTable()
    {
        if (!IsRefcountTableDirty)
        {
            return null;
        }

        IsRefcountTableDirty = false;
        var fields = new byte[12];
        BinaryPrimitives.WriteUInt64BigEndian(fields, (ulong)Current.RefcountTableOffset);
        BinaryPrimitives.WriteUInt32BigEndian(fields.AsSpan(8), (uint)Current.RefcountTableClusters);
        return fields;
    }

    /// <summary>Takes size, encryption method, l1_size and l1_table_offset, which lie side by side; null when they have not changed.</summary>
    internal byte[]? TakeMap()
    {
        if (!IsMapDirty)
        {
            return null;
        }

        IsMapDirty = false;
        var fields = new byte[24];
        BinaryPrimitives.WriteUInt64BigEndian(fields, (ulong)(HeldSize ?? Current.Size));
        BinaryPrimitives.WriteUInt32BigEndian(fields.AsSpan(EncryptionField - SizeField), (uint)Current.Encryption);
        BinaryPrimitives.WriteUInt32BigEndian(fields.AsSpan(12), (uint)Current.L1Entries);
        BinaryPrimitives.WriteUInt64BigEndian(fields.AsSpan(16), (ulong)Current.L1Offset);
        return fields;
    }

    /// <summary>Undoes the taking when writing failed.</summary>
    internal void PutBack(byte[]? refcountTable, byte[]? map)
    {
        IsRefcountTableDirty |= refcountTable is not null;
        IsMapDirty |= map is not null;
    }

    /// <summary>Changes feature bits in the file, durably.</summary>
    internal async IoTask ChangeFeaturesAsync(IncompatibleFeatures incompatible, ulong compatible, ulong autoclear)
    {
        if (Current.Version < 3 || (Current.Incompatible == incompatible && Current.Compatible == compatible && Current.Autoclear == autoclear))
        {
            return;
        }

        Qcow2Header changed = Current with { Incompatible = incompatible, Compatible = compatible, Autoclear = autoclear };
        await file.WriteBytesAsync(FeaturesField, Qcow2HeaderWriter.BuildFeatures(changed));
        await file.FlushAsync();
        Current = Current with { Incompatible = incompatible, Compatible = compatible, Autoclear = autoclear };
    }

    /// <summary>Names another snapshot table in the file, durably. Count and place lie side by side, so that one small write changes both.</summary>
    internal async IoTask ChangeSnapshotsAsync(int count, long offset)
    {
        var fields = new byte[12];
        BinaryPrimitives.WriteUInt32BigEndian(fields, (uint)count);
        BinaryPrimitives.WriteUInt64BigEndian(fields.AsSpan(4), (ulong)offset);
        await file.WriteBytesAsync(SnapshotsField, fields);
        await file.FlushAsync();
        Current = Current with { SnapshotCount = count, SnapshotsOffset = offset };
    }

    /// <summary>Names another L1 table and another refcount table in one write, durably.</summary>
    internal async IoTask ChangeTablesAsync(long l1Offset, long refcountTableOffset, int refcountTableClusters)
    {
        var fields = new byte[20];
        BinaryPrimitives.WriteUInt64BigEndian(fields, (ulong)l1Offset);
        BinaryPrimitives.WriteUInt64BigEndian(fields.AsSpan(8), (ulong)refcountTableOffset);
        BinaryPrimitives.WriteUInt32BigEndian(fields.AsSpan(16), (uint)refcountTableClusters);
        await file.WriteBytesAsync(L1OffsetField, fields);
        await file.FlushAsync();
        Current = Current with { L1Offset = l1Offset, RefcountTableOffset = refcountTableOffset, RefcountTableClusters = refcountTableClusters };
    }

    /// <summary>Writes the whole header anew: names and extensions, which have no fixed place. Nothing may wait for being written.</summary>
    internal async IoTask ReplaceAsync(Qcow2Header changed)
    {
        await new HeaderReplacement(file, Current, changed).RunAsync();
        Current = changed;
    }
}
